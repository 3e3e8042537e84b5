//! `hooks`: six lists of programs that are run at points of the life cycle.
//!
//! Only the text is checked here (config.md, "POSIX-platform Hooks"): an absolute path, a
//! timeout above zero, an environment of `NAME=value`. When each runs, and where, is written in
//! `container` and `init`.

use oci_spec::runtime as oci;

use super::{Hook, Hooks, paths, process};
use crate::error::{Error, Result};

/// Plan all six lists.
pub fn plan(hooks: Option<&oci::Hooks>) -> Result<Hooks> {
    let Some(hooks) = hooks else {
        return Ok(Hooks::default());
    };
    // Deprecated by the specification, still written by engines and still run.
    #[allow(deprecated)]
    let prestart = hooks.prestart();
    Ok(Hooks {
        prestart: list(prestart, "prestart")?,
        create_runtime: list(hooks.create_runtime(), "createRuntime")?,
        create_container: list(hooks.create_container(), "createContainer")?,
        start_container: list(hooks.start_container(), "startContainer")?,
        poststart: list(hooks.poststart(), "poststart")?,
        poststop: list(hooks.poststop(), "poststop")?,
    })
}

fn list(list: &Option<Vec<oci::Hook>>, kind: &str) -> Result<Vec<Hook>> {
    list.iter()
        .flatten()
        .enumerate()
        .map(|(index, hook)| one(hook, &format!("/hooks/{kind}/{index}")))
        .collect()
}

fn one(hook: &oci::Hook, at: &str) -> Result<Hook> {
    let path = hook.path();
    paths::no_nul_path(path, || format!("{at}/path"))?;
    if !path.is_absolute() {
        return Err(Error::field(
            format!("{at}/path"),
            format!("hook path {:?} must be absolute", path.display()),
        ));
    }
    let args = match hook.args() {
        Some(args) if !args.is_empty() => {
            process::check_args(args, &format!("{at}/args"))?;
            args.clone()
        }
        _ => vec![path.to_string_lossy().into_owned()],
    };
    let env = hook
        .env()
        .as_ref()
        .map(|env| process::env(env, &format!("{at}/env")))
        .transpose()?;
    let timeout = match hook.timeout() {
        None => None,
        Some(seconds) if seconds > 0 => Some(seconds.unsigned_abs()),
        Some(seconds) => {
            return Err(Error::field(
                format!("{at}/timeout"),
                format!("hook timeout must be greater than zero, not {seconds}"),
            ));
        }
    };
    Ok(Hook {
        path: path.clone(),
        args,
        env,
        timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::pointer_of;
    use serde_json::{Value, json};

    fn of(hooks: Value) -> Result<Hooks> {
        plan(Some(&serde_json::from_value(hooks).unwrap()))
    }

    #[test]
    fn each_list_goes_where_it_belongs() {
        let kinds = [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ];
        let hooks: serde_json::Map<_, _> = kinds
            .iter()
            .map(|kind| ((*kind).to_owned(), json!([{"path": format!("/{kind}")}])))
            .collect();
        let plan = of(Value::Object(hooks)).unwrap();
        let lists = [
            &plan.prestart,
            &plan.create_runtime,
            &plan.create_container,
            &plan.start_container,
            &plan.poststart,
            &plan.poststop,
        ];
        for (list, kind) in lists.into_iter().zip(kinds) {
            assert_eq!(list[0].args, [format!("/{kind}")]);
        }
    }

    #[test]
    fn no_environment_and_an_empty_one_differ() {
        let plan = of(json!({"poststop": [
            {"path": "/a"}, {"path": "/b", "env": []},
            {"path": "/c", "env": ["A=1", "A=2"], "args": ["zero", "one"], "timeout": 3}
        ]}))
        .unwrap();
        assert_eq!(plan.poststop[0].env, None);
        assert_eq!(plan.poststop[1].env, Some(vec![]));
        assert_eq!(plan.poststop[2].env, Some(vec!["A=2".to_owned()]));
        assert_eq!(plan.poststop[2].args, ["zero", "one"]);
        assert_eq!(plan.poststop[2].timeout, Some(3));
    }

    #[test]
    fn bad_hooks_are_refused_by_name() {
        for (hook, pointer) in [
            (json!({"path": "bin/x"}), "path"),
            (json!({"path": ""}), "path"),
            (json!({"path": "/x", "timeout": 0}), "timeout"),
            (json!({"path": "/x", "timeout": -1}), "timeout"),
            (json!({"path": "/x", "env": ["A=1", "B"]}), "env/1"),
            (json!({"path": "/x", "args": ["x", "a\0"]}), "args/1"),
        ] {
            let error = of(json!({"poststart": [{"path": "/ok"}, hook]})).unwrap_err();
            assert_eq!(pointer_of(&error), format!("/hooks/poststart/1/{pointer}"));
        }
    }
}
