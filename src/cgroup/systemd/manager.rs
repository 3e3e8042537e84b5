//! systemd's manager object, on the system's bus or on the user's.

use std::env;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::dbus::address::{self, Socket};
use crate::dbus::{Bus, Failure, Object, Value};
use crate::error::{Error, Result};
use crate::plan::{Property, SystemdHost};

/// How long a job may take, as in runc.
const JOB_TIME: Duration = Duration::from_secs(30);

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: Object = Object {
    destination: SERVICE,
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const PROPERTIES: Object = Object {
    interface: "org.freedesktop.DBus.Properties",
    ..MANAGER
};
const JOB_REMOVED: &str = "type='signal',sender='org.freedesktop.systemd1',\
     interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// What callers match when there is nobody to talk to.
const NOT_RUNNING: &str = "systemd not running on this host, cannot use systemd as cgroups manager";

/// A connection to it.
#[derive(Debug)]
pub struct Manager {
    bus: Bus,
    /// Whether there is a bus between, which must be told of the signals that we want.
    by_bus: bool,
}

/// A job that was accepted: its object path.
#[derive(Debug)]
pub struct Job(String);

impl Manager {
    /// Connect to the system's manager, or to that of the calling user.
    ///
    /// # Errors
    /// Nobody listens there: at once.
    pub fn connect(user: bool) -> Result<Self> {
        let mut first = None;
        for place in places(user)? {
            let connected = match place.by_bus {
                true => Bus::connect(&place.socket),
                false => Bus::connect_to_service(&place.socket),
            };
            match connected {
                Ok(bus) => {
                    let by_bus = place.by_bus;
                    return Ok(Self { bus, by_bus });
                }
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        let error = first.unwrap_or_else(|| Error::new("the bus has no address of a unix socket"));
        let error = error.within(NOT_RUNNING);
        Err(if user {
            error.with_hint(USER_HINT)
        } else {
            error
        })
    }

    /// What a plan must know of it.
    pub fn facts(&mut self) -> Result<SystemdHost> {
        let version = self.property("Version")?;
        let version = parse_version(&version).ok_or_else(|| {
            Error::new(format!(
                "systemd has a version that is no number: {version:?}"
            ))
        })?;
        let control_group = PathBuf::from(self.property("ControlGroup")?);
        Ok(SystemdHost {
            version,
            control_group,
        })
    }

    fn property(&mut self, name: &str) -> Result<String> {
        let step = format!("ask systemd for its {name}");
        let body = vec![MANAGER.interface.into(), name.into()];
        let answer = self.bus.call(PROPERTIES, "Get", body);
        match answer.map_err(|failure| failure.into_error(&step))?.first() {
            Some(Value::Variant(value)) if value.text().is_some() => {
                Ok(value.text().unwrap_or_default().to_owned())
            }
            other => Err(Error::new(format!("{step}: it said {other:?}"))),
        }
    }

    /// Whether file descriptors can be sent to it.
    pub fn takes_fds(&self) -> bool {
        self.bus.takes_fds()
    }

    /// Ask for a transient unit; `fds` are what its properties refer to. A unit of this name that has failed before is forgotten for
    /// it; one that lives is an error.
    pub fn start(
        &mut self,
        name: &str,
        properties: &[Property],
        fds: &[BorrowedFd],
    ) -> Result<Job> {
        let step = format!("unable to start unit {name:?}");
        self.watch_jobs()?;
        let mut started = self.try_start(name, properties, fds);
        if started
            .as_ref()
            .is_err_and(|failure| failure.is(UNIT_EXISTS))
        {
            self.reset_failed(name);
            started = self.try_start(name, properties, fds);
        }
        started.map_err(|failure| failure.into_error(&step))
    }

    fn try_start(
        &mut self,
        name: &str,
        properties: &[Property],
        fds: &[BorrowedFd],
    ) -> Result<Job, Failure> {
        let no_more_units = Value::Array("(sa(sv))".to_owned(), Vec::new());
        let body = vec![
            name.into(),
            "replace".into(),
            array(properties),
            no_more_units,
        ];
        let answer = self
            .bus
            .call_with(MANAGER, "StartTransientUnit", body, fds)?;
        job_of(&answer).map_err(Failure::Broken)
    }

    /// Wait until the unit is up.
    pub fn wait_started(&mut self, name: &str, job: &Job) -> Result<()> {
        match self.result_of(job)? {
            Some(result) if result == "done" => Ok(()),
            other => {
                self.reset_failed(name);
                Err(match other {
                    Some(result) => Error::new(format!(
                        "error creating systemd unit `{name}`: got `{result}`"
                    )),
                    None => Error::new(format!("Timeout waiting for systemd to create {name}")),
                })
            }
        }
    }

    /// Stop a unit, and wait until it is gone. One that is gone already, or has failed, is
    /// forgotten.
    pub fn stop(&mut self, name: &str) -> Result<()> {
        self.watch_jobs()?;
        let body = vec![name.into(), "replace".into()];
        match self.bus.call(MANAGER, "StopUnit", body) {
            Ok(answer) => {
                let job = job_of(&answer)?;
                match self.result_of(&job)? {
                    Some(result) if result == "done" => {}
                    Some(result) => log::warn!("stopping the unit {name}: systemd said {result}"),
                    None => {
                        return Err(Error::new(format!(
                            "Timed out while waiting for systemd to remove {name}"
                        )));
                    }
                }
            }
            Err(failure) if failure.is(NO_SUCH_UNIT) => {}
            Err(failure) => return Err(failure.into_error(&format!("stop the unit {name}"))),
        }
        self.reset_failed(name);
        Ok(())
    }

    /// Put a process into a unit's cgroup, or into the one that is `below` it, from `/`.
    pub fn attach(&mut self, name: &str, process: u32, below: &Path) -> Result<()> {
        let below = below.to_string_lossy();
        let pids = Value::Array("u".to_owned(), vec![Value::Uint32(process)]);
        let body = vec![name.into(), (&*below).into(), pids];
        match self.bus.call(MANAGER, "AttachProcessesToUnit", body) {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.into_error(&format!("join the unit {name}"))),
        }
    }

    /// What a unit is described as; `None`: there is none of this name.
    pub fn description(&mut self, name: &str) -> Result<Option<String>> {
        let step = format!("look at the unit {name}");
        let found = match self.bus.call(MANAGER, "GetUnit", vec![name.into()]) {
            Ok(found) => found,
            Err(failure) if failure.is(NO_SUCH_UNIT) => return Ok(None),
            Err(failure) => return Err(failure.into_error(&step)),
        };
        let path = found.first().and_then(Value::text).unwrap_or_default();
        let unit = Object { path, ..PROPERTIES };
        let body = vec!["org.freedesktop.systemd1.Unit".into(), "Description".into()];
        let answer = self.bus.call(unit, "Get", body);
        match answer.map_err(|failure| failure.into_error(&step))?.first() {
            Some(Value::Variant(value)) => Ok(value.text().map(str::to_owned)),
            other => Err(Error::new(format!("{step}: it said {other:?}"))),
        }
    }

    /// Change properties of a unit until it ends.
    pub fn set_properties(&mut self, name: &str, properties: &[Property]) -> Result<()> {
        let runtime = Value::Bool(true);
        let body = vec![name.into(), runtime, array(properties)];
        match self.bus.call(MANAGER, "SetUnitProperties", body) {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.into_error("unable to set unit properties")),
        }
    }

    /// Most units have not failed, which is what systemd then says.
    fn reset_failed(&mut self, name: &str) {
        let done = self.bus.call(MANAGER, "ResetFailedUnit", vec![name.into()]);
        if let Err(failure) = done {
            log::debug!("{}", failure.into_error("reset the unit"));
        }
    }

    /// Before the first job, so that its end is not missed.
    fn watch_jobs(&mut self) -> Result<()> {
        if self.by_bus {
            self.bus.add_match(JOB_REMOVED)?;
        }
        match self.bus.call(MANAGER, "Subscribe", Vec::new()) {
            Err(Failure::Broken(error)) => Err(error.within("subscribe to systemd's jobs")),
            // Done before, on this connection.
            _ => Ok(()),
        }
    }

    /// How a job ended: `done`, `failed` and so on; `None`: it did not, in time.
    fn result_of(&mut self, job: &Job) -> Result<Option<String>> {
        let ours = |body: &[Value]| body.get(1).and_then(Value::text) == Some(&job.0);
        let end = self.bus.wait_for_signal("JobRemoved", JOB_TIME, ours)?;
        let result = |body: Vec<Value>| body.get(3).and_then(Value::text).map(str::to_owned);
        Ok(end.map(|body| result(body).unwrap_or_default()))
    }
}

fn job_of(answer: &[Value]) -> Result<Job> {
    match answer.first().and_then(Value::text) {
        Some(path) => Ok(Job(path.to_owned())),
        None => Err(Error::new(format!("systemd named no job: {answer:?}"))),
    }
}

fn array(properties: &[Property]) -> Value {
    let pair = |property: &Property| {
        let value = property.value.clone().variant();
        Value::Struct(vec![property.name.as_str().into(), value])
    };
    Value::Array("(sv)".to_owned(), properties.iter().map(pair).collect())
}

/// Digits after what may come before them: `v245.4-1.fc32` is 245.
fn parse_version(text: &str) -> Option<u32> {
    let text = text.trim_start_matches(['"', 'v']);
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

const USER_HINT: &str = "a rootless container needs the user's bus: DBUS_SESSION_BUS_ADDRESS, \
     or XDG_RUNTIME_DIR and the package dbus-user-session";

/// One way to reach a manager.
struct Place {
    socket: Socket,
    by_bus: bool,
}

/// All ways, best first. A bus that the environment names is the only one.
fn places(user: bool) -> Result<Vec<Place>> {
    let variable = |name| {
        env::var(name)
            .ok()
            .filter(|value: &String| !value.is_empty())
    };
    let place = |socket, by_bus| Place { socket, by_bus };
    let given = match user {
        true => variable("DBUS_SESSION_BUS_ADDRESS"),
        false => variable("DBUS_SYSTEM_BUS_ADDRESS"),
    };
    if let Some(list) = given {
        let sockets = address::parse(&list).into_iter();
        return Ok(sockets.map(|socket| place(socket, true)).collect());
    }
    let at = |path: PathBuf, by_bus| place(Socket::Path(path), by_bus);
    if !user {
        return Ok(vec![
            at("/run/dbus/system_bus_socket".into(), true),
            at("/run/systemd/private".into(), false),
        ]);
    }
    let Some(session) = variable("XDG_RUNTIME_DIR") else {
        return Err(Error::new(NOT_RUNNING).with_hint(USER_HINT));
    };
    let session = Path::new(&session);
    Ok(vec![
        at(session.join("bus"), true),
        at(session.join("systemd/private"), false),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_first_number() {
        for text in ["252", "v252", "252.4-1.fc38", "v252-rc1", "\"v252\""] {
            assert_eq!(parse_version(text), Some(252), "{text}");
        }
        assert_eq!(parse_version("unknown"), None);
    }
}
