//! A container of a test: the verbs that take its id.

use std::fs;

use serde_json::Value;

use super::{Output, Test, wait_until};

/// Deleted by force at the end, if the test has not deleted it.
pub struct Container<'t> {
    test: &'t Test,
    pub id: String,
    /// What `create` gave; the container's output is in the same files.
    pub created: Output,
    deleted: std::cell::Cell<bool>,
}

impl<'t> Container<'t> {
    /// Take charge of a container that is there already.
    pub fn adopt(test: &'t Test, id: &str, created: Output) -> Self {
        Self {
            test,
            id: id.to_owned(),
            created,
            deleted: false.into(),
        }
    }

    /// A verb with the id as its last argument.
    pub fn verb(&self, verb: &[&str]) -> Output {
        let mut args = verb.to_vec();
        args.push(&self.id);
        self.test.runtime.call(&args)
    }

    pub fn start(&self) -> Output {
        self.verb(&["start"])
    }

    pub fn kill(&self, signal: &str) -> Output {
        self.test.runtime.call(&["kill", &self.id, signal])
    }

    pub fn delete(&self) -> Output {
        let output = self.verb(&["delete"]);
        self.deleted.set(output.code() == 0);
        output
    }

    pub fn delete_force(&self) -> Output {
        let output = self.verb(&["delete", "--force"]);
        self.deleted.set(output.code() == 0);
        output
    }

    /// `exec` in the foreground: its flags, then the probe's arguments.
    pub fn exec(&self, flags: &[&str], probe: &[&str]) -> Output {
        let mut args = vec!["exec"];
        args.extend(flags);
        args.extend([self.id.as_str(), "/probe"]);
        args.extend(probe);
        self.test.runtime.call(&args)
    }

    /// The JSON that `state` prints; the test fails when it fails.
    pub fn state(&self) -> Value {
        let output = self.verb(&["state"]);
        output.expect_ok();
        serde_json::from_str(&output.stdout)
            .unwrap_or_else(|e| panic!("state is not JSON: {e}\n{output}"))
    }

    pub fn status(&self) -> String {
        self.state()["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Init's pid in the pid namespace of the test.
    pub fn pid(&self) -> u32 {
        let pid = self.state()["pid"].as_u64().unwrap_or_default();
        u32::try_from(pid).unwrap()
    }

    pub fn wait_for_status(&self, status: &str) {
        wait_until(&format!("status {status}"), || self.status() == status);
    }

    /// What the container has printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.created.stdout_path).unwrap()
    }

    pub fn wait_for_output(&self, words: &str) {
        wait_until(&format!("{words:?} from the container"), || {
            self.output().contains(words)
        });
    }

    /// SIGKILL, wait, delete: the usual end.
    pub fn end(self) {
        self.kill("KILL").expect_ok();
        self.wait_for_status("stopped");
        self.delete().expect_ok();
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if !self.deleted.get() {
            self.verb(&["delete", "--force"]);
        }
    }
}
