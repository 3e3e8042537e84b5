//! sd_notify(3), as a program and as an attacker calls it.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::pipe;

/// One word after another: what it says is sent, but for those in capitals alone.
pub fn notify(words: &[&str]) -> Result<i32, String> {
    let path = std::env::var("NOTIFY_SOCKET").map_err(|_| "no NOTIFY_SOCKET".to_owned())?;
    let socket = UnixDatagram::unbound().map_err(|e| e.to_string())?;
    let connected = socket.connect(&path).map_err(|e| format!("{path}: {e}"));
    for word in words {
        match *word {
            "SLEEP" => loop {
                std::thread::sleep(Duration::from_secs(60));
            },
            "LIST" => list(&path)?,
            "TRY" => say(if connected.is_ok() {
                "connected"
            } else {
                "refused"
            })?,
            "LONG" => {
                let text = format!("READY=1\n{}", "x".repeat(20_000));
                send(&socket, text.as_bytes(), &[])?;
            }
            "MANY" => {
                for n in 0..2000 {
                    send(&socket, format!("STATUS={n}\nWATCHDOG=1").as_bytes(), &[])?;
                }
            }
            "FDS" => {
                let root = File::open("/").map_err(|e| e.to_string())?;
                send(&socket, b"FDSTORE=1\nMAINPID=1", &[root.as_raw_fd(); 200])?;
            }
            "BARRIER" => {
                let (ours, theirs) = pipe().map_err(|e| e.to_string())?;
                send(&socket, b"BARRIER=1", &[theirs.as_raw_fd()])?;
                drop(theirs);
                let ended = File::from(ours).read(&mut [0; 1]);
                say(&format!("barrier {ended:?}"))?;
            }
            text => send(&socket, text.as_bytes(), &[])?,
        }
    }
    Ok(0)
}

fn send(socket: &UnixDatagram, text: &[u8], fds: &[RawFd]) -> Result<(), String> {
    let rights = [ControlMessage::ScmRights(fds)];
    let controls = if fds.is_empty() {
        &rights[..0]
    } else {
        &rights
    };
    let parts = [IoSlice::new(text)];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &parts,
        controls,
        MsgFlags::empty(),
        None,
    )
    .map(drop)
    .map_err(|e| format!("send: {e}"))
}

/// What is beside the socket, and whether more can be put there.
fn list(path: &str) -> Result<(), String> {
    let dir = path.rsplit_once('/').map_or("/", |(dir, _)| dir);
    let mut names: Vec<String> = fs::read_dir(dir)
        .map_err(|e| e.to_string())?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let made = match File::create(format!("{dir}/more")) {
        Ok(_) => "writable",
        Err(_) => "read-only",
    };
    say(&format!("{path} {} {made}", names.join(" ")))
}

fn say(text: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{text}").map_err(|e| e.to_string())
}
