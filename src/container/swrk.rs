//! criu as a process that works for us alone: `criu swrk FD`, with one end of a socket pair.
//!
//! It begins as a clone of ours, which may enter cgroups and mount things before it becomes criu
//! (see `init::restore`), and waits for our word until then. Then one request is sent and answered;
//! in between criu stops at certain points, says which, and goes on when it is told to. If we go
//! away, or do not like what we hear, criu sees the end of the socket and takes back what it did.
//!
//! All fds that a request names are criu's own, inherited by the same numbers. It opens those of
//! directories once more by way of /proc, as files of whoever made the socket pair: so that is
//! done in the clone, and one end is sent to us. In its mount namespace our fds would lead nowhere.

use std::cell::Cell;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, Pid, access, dup2_stderr, dup2_stdin, dup2_stdout};

use crate::criu::rpc::{self, Feature, Kind, Notify, Response};
use crate::error::{Error, Result, Step};
use crate::init::channel::{Channel, Message};
use crate::init::end::{close_all_but, fail, report_panics_on};
use crate::sys::socket::receive_message;
use crate::sys::wait::{self, End};
use crate::sys::{clone, exec, process};

/// Of callers without one: where criu is looked for, and where it looks for iptables.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Longer than any answer of criu's, which are some hundred bytes.
const LONGEST: usize = 64 << 10;

/// The program, found in PATH.
#[derive(Debug)]
pub struct Criu {
    path: PathBuf,
    version: Cell<Option<u32>>,
}

/// What the process that becomes criu is given.
pub struct Launch<'a> {
    /// CLONE_NEW* bits.
    pub flags: i32,
    /// The v2 cgroup in which it is born.
    pub born_in: Option<BorrowedFd<'a>>,
    /// Fds that criu inherits, by the same numbers.
    pub inherited: &'a [BorrowedFd<'a>],
    /// Fds that stay open until it becomes criu.
    pub lent: &'a [BorrowedFd<'a>],
    /// Whether it has our standard streams, which are the container's, or none.
    pub stdio: bool,
}

impl Launch<'_> {
    /// For requests that concern no process that criu makes.
    const PLAIN: Self = Self {
        flags: 0,
        born_in: None,
        inherited: &[],
        lent: &[],
        stdio: false,
    };
}

/// A running criu. Dropped, its socket is closed and its end waited for.
pub struct Swrk {
    pid: Pid,
    socket: Option<OwnedFd>,
}

impl Criu {
    /// # Errors
    /// There is no criu, with a hint.
    pub fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
        let path = path.unwrap_or_else(|| PATH.into());
        let found = std::env::split_paths(&path)
            .map(|dir| dir.join("criu"))
            .find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok());
        match found {
            Some(path) => Ok(Self {
                path,
                version: Cell::new(None),
            }),
            None => Err(Error::new("criu: executable file not found in $PATH")
                .with_hint("checkpoint and restore need criu 3.0 or later to be installed")),
        }
    }

    /// 31701 for 3.17.1; asked once.
    pub fn version(&self) -> Result<u32> {
        if let Some(version) = self.version.get() {
            return Ok(version);
        }
        let swrk = self.start_plain(&[])?;
        let answer = swrk.ask(Kind::Version, &rpc::request(Kind::Version, None), |_, _| {
            Ok(())
        });
        let version = answer
            .map_err(|e| e.within("criu version check failed"))?
            .version;
        log::debug!("{} is of version {version}", self.path.display());
        self.version.set(Some(version));
        Ok(version)
    }

    /// Refuse an older one; `for_what` says what needs it.
    pub fn require(&self, version: u32, for_what: &str) -> Result<()> {
        let have = self.version()?;
        if have >= version {
            return Ok(());
        }
        let dotted = |v: u32| format!("{}.{}", v / 10_000, v / 100 % 100);
        Err(Error::new(format!(
            "{for_what} requires at least criu {}, this is {}",
            dotted(version),
            dotted(have)
        )))
    }

    /// Refuse what criu and the kernel together do not have.
    pub fn require_feature(&self, feature: Feature) -> Result<()> {
        let swrk = self.start_plain(&[])?;
        let request = rpc::feature_check(feature);
        let answer = swrk.ask(Kind::FeatureCheck, &request, |_, _| Ok(()));
        let answer = answer.map_err(|e| e.within("criu feature check failed"))?;
        if answer.has(feature) {
            return Ok(());
        }
        Err(Error::new(format!("criu is missing features: {feature:?}")))
    }

    /// criu, ready to be asked, with these fds alone.
    pub fn start_plain(&self, inherited: &[BorrowedFd]) -> Result<Swrk> {
        let launch = Launch {
            inherited,
            ..Launch::PLAIN
        };
        self.start(&launch, |_| Ok(()), |channel, _| ready(channel))
    }

    /// Clone, do `inside` there while `attend` answers it here until it is ready, then criu.
    pub fn start(
        &self,
        launch: &Launch,
        inside: impl FnOnce(&Channel) -> Result<()>,
        attend: impl FnOnce(&Channel, Pid) -> Result<()>,
    ) -> Result<Swrk> {
        let (channel, line) = Channel::pair()?;
        let program = Program::new(&self.path)?;
        let child = || {
            report_panics_on(line.raw_fd());
            let error = match become_ready(launch, &line, inside) {
                Ok(socket) => program.exec(&socket),
                Err(error) => error,
            };
            fail(&line, error)
        };
        let flags = launch.flags.cast_unsigned().into();
        let (pid, _) =
            clone::clone3(flags, launch.born_in, child).step("clone a process for criu")?;
        drop(line);
        let mut swrk = Swrk { pid, socket: None };
        attend(&channel, pid)?;
        channel.send(&Message::Go)?;
        swrk.socket = Some(channel.receive_fd()?);
        match channel.receive()? {
            // Closed by execve.
            None => Ok(swrk),
            Some(Message::Failed(error)) => Err(error),
            Some(other) => Err(Error::new(format!(
                "the other half said {other:?} out of turn"
            ))),
        }
    }
}

/// Where nothing is done before criu.
fn ready(channel: &Channel) -> Result<()> {
    match channel.receive()? {
        Some(Message::Ready) => Ok(()),
        Some(Message::Failed(error)) => Err(error),
        _ => Err(Error::new("the process for criu died")),
    }
}

/// In the child; gives criu's end of the socket.
fn become_ready(
    launch: &Launch,
    line: &Channel,
    inside: impl FnOnce(&Channel) -> Result<()>,
) -> Result<OwnedFd> {
    let kept = launch.inherited.iter().chain(launch.lent);
    let mut kept: Vec<RawFd> = kept.map(AsRawFd::as_raw_fd).collect();
    kept.push(line.raw_fd());
    close_all_but(0, &kept)?;
    if !launch.stdio {
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
            .step_on("open", "/dev/null")?;
        dup2_stdin(&null)
            .and_then(|()| dup2_stdout(&null))
            .and_then(|()| dup2_stderr(&null))
            .step("hand over stdio")?;
    }
    inside(line)?;
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .step("make a socket pair")?;
    for fd in launch.inherited.iter().copied().chain([ours.as_fd()]) {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).step("hand over an fd")?;
    }
    line.send(&Message::Ready)?;
    line.wait_for_go()?;
    line.send_fd(theirs.as_fd())?;
    process::reset_signals();
    Ok(ours)
}

/// The strings for execve, made before the clone.
struct Program {
    path: CString,
    env: Vec<CString>,
}

impl Program {
    fn new(path: &Path) -> Result<Self> {
        let strings = || -> nix::Result<Self> {
            let has_path = std::env::var_os("PATH").is_some_and(|path| !path.is_empty());
            let own = (!has_path).then(|| format!("PATH={PATH}").into_bytes());
            Ok(Self {
                path: exec::string(path.as_os_str().as_bytes())?,
                env: exec::strings(exec::own_environment().chain(own))?,
            })
        };
        strings().step("prepare criu's command line")
    }

    fn exec(&self, socket: &OwnedFd) -> Error {
        let args = [
            "criu".to_owned(),
            "swrk".to_owned(),
            socket.as_raw_fd().to_string(),
        ];
        let executed =
            exec::strings(args).and_then(|args| exec::execve(&self.path, &args, &self.env));
        match executed {
            Err(errno) => {
                Error::sys("execute criu", errno).with_path(&*self.path.to_string_lossy())
            }
            Ok(never) => match never {},
        }
    }
}

impl Swrk {
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Send the request and wait for its answer. `notified` is called at each point that criu
    /// stops at, perhaps with an fd that criu hands over there.
    ///
    /// # Errors
    /// criu's own, with its words; or that of `notified`.
    pub fn ask(
        &self,
        kind: Kind,
        request: &[u8],
        mut notified: impl FnMut(&Notify, Option<OwnedFd>) -> Result<()>,
    ) -> Result<Response> {
        self.send(request)?;
        loop {
            let (response, fd) = self.receive()?;
            if !response.success {
                return Err(failure(kind, &response));
            }
            if response.kind == Kind::Notify as i64 {
                let notify = response
                    .notify
                    .ok_or_else(|| Error::new("criu notified us of nothing"))?;
                log::debug!("criu: {}", notify.script);
                notified(&notify, fd)?;
                self.send(&rpc::notified())?;
            } else if response.kind == kind as i64 {
                return Ok(response);
            } else {
                let got = response.kind;
                return Err(Error::new(format!("criu answered with type {got}")));
            }
        }
    }

    /// Let criu end, and see how it did.
    pub fn end(mut self) -> Result<End> {
        self.socket = None;
        let pid = std::mem::replace(&mut self.pid, Pid::from_raw(0));
        wait::reap(pid).step("wait for criu")
    }

    fn socket(&self) -> RawFd {
        self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        send(self.socket(), bytes, MsgFlags::MSG_NOSIGNAL)
            .map(drop)
            .step("ask criu")
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        let mut buffer = vec![0; LONGEST];
        let socket = self.socket.as_ref();
        let socket = socket.ok_or_else(|| Error::sys("ask criu", Errno::ENOTCONN))?;
        match receive_message(socket.as_fd(), &mut buffer).step("read criu's answer")? {
            (0, _) => Err(Error::new("criu ended without an answer")),
            (length, fd) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                Response::parse(bytes).map(|response| (response, fd))
            }
        }
    }
}

impl Drop for Swrk {
    /// Not killed: a criu that is stopped half-way leaves the container's processes traced.
    fn drop(&mut self) {
        self.socket = None;
        if self.pid.as_raw() > 0 {
            let _ = wait::reap(self.pid);
        }
    }
}

fn failure(kind: Kind, response: &Response) -> Error {
    // The first error that criu met, which need not be the one that stopped it: that is in the
    // log, where there is one.
    let logged = matches!(kind, Kind::Dump | Kind::PreDump | Kind::Restore);
    let message = match response.message.trim() {
        message if message.is_empty() || logged => String::new(),
        message => format!(": {}", message.replace('\n', " ")),
    };
    Error::new(format!(
        "criu failed: type {} errno {}{message}",
        kind.name(),
        response.errno
    ))
}
