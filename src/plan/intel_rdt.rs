//! `linux.intelRdt`: which group of the resctrl file system the container goes to, and what is
//! written to its `schemata`.
//!
//! The order is the specification's: `l3CacheSchema`, `memBwSchema`, then `schemata`, so that
//! the last may override the others. What the lines say is the kernel's to judge.

use oci_spec::runtime::LinuxIntelRdt;

use super::{IntelRdt, SchemataLine, paths};
use crate::error::{Error, Result};

/// JSON pointers.
pub const AT: &str = "/linux/intelRdt";
pub const L3: &str = "/linux/intelRdt/l3CacheSchema";
pub const MB: &str = "/linux/intelRdt/memBwSchema";
pub const MONITORING: &str = "/linux/intelRdt/enableMonitoring";

/// A write to a file of resctrl ends after one page.
const LONGEST: usize = 4096;

/// Plan the section.
pub fn plan(rdt: &LinuxIntelRdt, warnings: &mut Vec<String>) -> Result<IntelRdt> {
    let clos = rdt.clos_id().clone().filter(|id| !id.is_empty());
    if let Some(id) = &clos {
        check_clos(id)?;
    }
    Ok(IntelRdt {
        clos,
        schemata: schemata(rdt, warnings)?,
        monitoring: rdt.enable_monitoring().unwrap_or(false),
    })
}

/// One name below the root of resctrl, but none that the kernel has put there itself.
fn check_clos(id: &str) -> Result<()> {
    let at = || format!("{AT}/closID");
    paths::no_nul(id.as_bytes(), at)?;
    let own = ["info", "mon_data", "mon_groups"];
    let wrong = matches!(id, "." | "..") || own.contains(&id) || id.contains(['/', '\n']);
    match wrong && id != "/" {
        true => Err(Error::field(
            at(),
            format!("invalid intelRdt.ClosID {id:?}"),
        )),
        false => Ok(()),
    }
}

fn schemata(rdt: &LinuxIntelRdt, warnings: &mut Vec<String>) -> Result<Vec<SchemataLine>> {
    let mut lines = Vec::new();
    if let Some(schema) = given(rdt.l3_cache_schema().as_ref()) {
        // Several lines where code and data have parts of the cache of their own.
        for line in schema.lines() {
            if !line.starts_with("L3") {
                warnings.push(format!(
                    "l3CacheSchema should start with L3: (config.json: {L3})"
                ));
            }
            lines.push((L3.to_owned(), line));
        }
    }
    if let Some(schema) = given(rdt.mem_bw_schema().as_ref()) {
        if !schema.starts_with("MB:") {
            return Err(Error::field(MB, "memBwSchema must start with MB:"));
        }
        lines.push((MB.to_owned(), schema));
    }
    for (index, line) in rdt.schemata().iter().flatten().enumerate() {
        if !line.is_empty() {
            lines.push((format!("{AT}/schemata/{index}"), line.as_str()));
        }
    }
    for (field, line) in &lines {
        paths::no_nul(line.as_bytes(), || field.clone())?;
        if line.contains('\n') {
            return Err(Error::field(
                field,
                "a line of schemata has no newline in it",
            ));
        }
    }
    let length: usize = lines.iter().map(|(_, line)| line.len() + 1).sum();
    if length > LONGEST {
        return Err(Error::field(
            AT,
            format!("all schemata together have {length} bytes, and the kernel takes {LONGEST}"),
        ));
    }
    let line = |(field, line): (String, &str)| SchemataLine {
        field,
        line: line.to_owned(),
    };
    Ok(lines.into_iter().map(line).collect())
}

fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{plan_of, pointer_of, with_linux};
    use serde_json::{Value, json};

    fn of(rdt: Value) -> Result<(IntelRdt, Vec<String>)> {
        let spec = with_linux(json!({"namespaces": [{"type": "mount"}], "intelRdt": rdt}));
        plan_of(&spec).map(|plan| (plan.intel_rdt.unwrap(), plan.warnings))
    }

    #[test]
    fn lines_come_in_the_order_of_the_specification() {
        let (plan, warnings) = of(json!({
            "closID": "gold", "enableMonitoring": true,
            "schemata": ["L2:0=f", "", "MB:0=10"],
            "memBwSchema": "MB:0=20;1=70", "l3CacheSchema": "L3CODE:0=7f0\nL3DATA:0=1f\n"
        }))
        .unwrap();
        let lines: Vec<_> = plan
            .schemata
            .iter()
            .map(|l| (l.field.as_str(), l.line.as_str()))
            .collect();
        assert_eq!(
            lines,
            [
                (L3, "L3CODE:0=7f0"),
                (L3, "L3DATA:0=1f"),
                (MB, "MB:0=20;1=70"),
                ("/linux/intelRdt/schemata/0", "L2:0=f"),
                ("/linux/intelRdt/schemata/2", "MB:0=10"),
            ]
        );
        assert_eq!(
            (plan.clos.as_deref(), plan.monitoring),
            (Some("gold"), true)
        );
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn an_empty_section_is_a_group_of_the_containers_own() {
        let empty = IntelRdt {
            clos: None,
            schemata: Vec::new(),
            monitoring: false,
        };
        assert_eq!(of(json!({})).unwrap().0, empty);
        let blank = json!({"closID": "", "schemata": [], "l3CacheSchema": "", "memBwSchema": ""});
        assert_eq!(of(blank).unwrap().0, empty);
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        for (rdt, pointer) in [
            (json!({"closID": "."}), "/closID"),
            (json!({"closID": ".."}), "/closID"),
            (json!({"closID": "a/b"}), "/closID"),
            (json!({"closID": "/a"}), "/closID"),
            (json!({"closID": "info"}), "/closID"),
            (json!({"closID": "mon_groups"}), "/closID"),
            (json!({"closID": "a\nb"}), "/closID"),
            (json!({"closID": "a\0"}), "/closID"),
            (json!({"memBwSchema": "0=20"}), "/memBwSchema"),
            (json!({"memBwSchema": "MB:0=20\nL3:0=f"}), "/memBwSchema"),
            (
                json!({"schemata": ["L3:0=f", "MB:0=1\nL3:0=ff"]}),
                "/schemata/1",
            ),
            (json!({"l3CacheSchema": "L3:0=f\0"}), "/l3CacheSchema"),
            (json!({"schemata": ["L3:".repeat(2000)]}), ""),
        ] {
            let error = of(rdt.clone()).unwrap_err();
            assert_eq!(pointer_of(&error), format!("{AT}{pointer}"), "{rdt}");
        }
        assert_eq!(of(json!({"closID": "/"})).unwrap().0.clos.unwrap(), "/");
        assert_eq!(of(json!({"l3CacheSchema": "0=f"})).unwrap().1.len(), 1);
    }
}
