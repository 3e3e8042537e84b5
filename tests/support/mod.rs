//! What every test stands on.
//!
//! A test is written with [`both_views!`] and gets a [`Test`]: the runtime under test, a
//! directory, a cgroup parent and names of its own. It runs twice, once where /sys/fs/cgroup
//! is cgroup v1 (or hybrid) and once where it is the unified hierarchy of v2; each time in a
//! fresh pid and mount namespace ([`isolate`]), so that tests run side by side and whatever
//! the runtime leaves behind is seen ([`leaks`]).
//!
//! The runtime is the one that cargo built, or the one that ORLOP_TEST_RUNTIME names. The
//! same tests run with the reference, runc; a test that cannot hold with it says so in its
//! first line ([`Test::only_orlop`]).

pub mod agent;
pub mod bundle;
pub mod compare;
pub mod console;
pub mod container;
pub mod isolate;
pub mod leaks;
pub mod probe;
pub mod runtime;
pub mod systemd;
pub mod terminal;
pub mod trace;
pub mod view;

pub use bundle::Bundle;
pub use container::Container;
pub use probe::Probe;
pub use runtime::{Output, Runtime};
pub use view::View;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Define tests, each of which runs in both views of cgroups.
///
/// `fn a_sentence(t) { ... }` becomes the tests `a_sentence::v1` and `a_sentence::v2`, with `t`
/// a `&Test`.
macro_rules! both_views {
    ($($(#[$meta:meta])* fn $name:ident($t:ident) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn body($t: &$crate::support::Test) $body
            #[test]
            fn v1() {
                $crate::support::isolate::run(
                    $crate::support::View::V1, concat!(module_path!(), "::v1"), body);
            }
            #[test]
            fn v2() {
                $crate::support::isolate::run(
                    $crate::support::View::V2, concat!(module_path!(), "::v2"), body);
            }
        }
    )*};
}
pub(crate) use both_views;

/// Define tests of what does not depend on cgroups: they run once, in the view of v2.
macro_rules! once {
    ($($(#[$meta:meta])* fn $name:ident($t:ident) $body:block)*) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            fn body($t: &$crate::support::Test) $body
            let name = concat!(module_path!(), "::", stringify!($name));
            $crate::support::isolate::run($crate::support::View::V2, name, body);
        }
    )*};
}
pub(crate) use once;

/// How long a test waits for something that happens at once on an idle machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many times slower than usual this machine is: ORLOP_TEST_SLOWNESS, for emulated ones.
fn slowness() -> u32 {
    let given = std::env::var("ORLOP_TEST_SLOWNESS").ok();
    given.map_or(1, |text| {
        text.parse().expect("ORLOP_TEST_SLOWNESS is a number")
    })
}

/// What one test has to itself.
pub struct Test {
    pub view: View,
    pub runtime: Runtime,
    /// A tmpfs of the test's own.
    pub dir: PathBuf,
    /// A name that no other test has; part of each container id and cgroup path.
    pub tag: String,
    count: AtomicU32,
}

impl Test {
    fn new(view: View, runtime: Runtime, dir: PathBuf, tag: String) -> Self {
        Self {
            view,
            runtime,
            dir,
            tag,
            count: AtomicU32::new(0),
        }
    }

    /// The same test with another way to call the runtime. Bundles made with both must not be
    /// mixed: they would have the same names.
    pub fn with_runtime(&self, runtime: Runtime) -> Self {
        let (dir, tag) = (self.dir.clone(), self.tag.clone());
        Self::new(self.view, runtime, dir, tag)
    }

    /// A directory of the test's own on the host, with one file, `file`; its path.
    pub fn shared_dir(&self, name: &str) -> String {
        let dir = self.dir.join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("file"), "from the host").unwrap();
        dir.to_str().unwrap().to_owned()
    }

    /// A bundle whose program is the probe with `args`; `edit` changes the default config.
    pub fn bundle(&self, args: &[&str], edit: impl FnOnce(&mut Value)) -> Bundle {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        Bundle::new(self, n, args, edit)
    }

    /// `run` in the foreground.
    pub fn run(&self, bundle: &Bundle) -> Output {
        self.runtime
            .call(&["run", "--bundle", bundle.path(), &bundle.id])
    }

    /// Run a bundle whose program is `report`, and parse what it printed.
    pub fn report(&self, bundle: &Bundle) -> Probe {
        Probe::parse(&self.run(bundle))
    }

    /// Run with the default config but for `edit`, and parse the probe's report.
    pub fn report_with(&self, edit: impl FnOnce(&mut Value)) -> Probe {
        self.report(&self.bundle(&["report"], edit))
    }

    /// `create`, which must succeed.
    pub fn create(&self, bundle: &Bundle) -> Container<'_> {
        let output = self.try_create(bundle);
        output.expect_ok();
        Container::adopt(self, &bundle.id, output)
    }

    /// `create`, whatever comes of it.
    pub fn try_create(&self, bundle: &Bundle) -> Output {
        self.runtime
            .call(&["create", "--bundle", bundle.path(), &bundle.id])
    }

    /// `create` and `start`, both of which must succeed.
    pub fn start(&self, bundle: &Bundle) -> Container<'_> {
        let container = self.create(bundle);
        container.start().expect_ok();
        container
    }

    /// A container that waits for ever, started and seen to be waiting.
    pub fn sleeper(&self, edit: impl FnOnce(&mut Value)) -> Container<'_> {
        let container = self.start(&self.bundle(&["sleep"], edit));
        container.wait_for_output("ready");
        container
    }

    /// End the test here, visibly, because this machine cannot run it.
    pub fn skip(&self, reason: &str) -> ! {
        isolate::skip(reason)
    }

    /// Skip with the reference runtime, for the reason given.
    pub fn only_orlop(&self, reason: &str) {
        if self.runtime.is_reference {
            self.skip(&format!("not with {}: {reason}", self.runtime.name));
        }
    }
}

/// Wait until `what` holds, else fail the test saying so.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE * slowness();
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
