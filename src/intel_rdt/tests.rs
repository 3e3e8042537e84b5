//! Groups in a directory that has resctrl's shape, but not its life: what the kernel would make
//! inside a new directory, the test makes.

use std::fs;

use super::*;
use crate::plan::tests::pointer_of;

/// A directory of the test's own, removed at the end.
struct Fake(Resctrl);

impl Fake {
    fn new(name: &str) -> Self {
        let name = format!("orlop-rdt-{name}-{}", std::process::id());
        let root = std::env::temp_dir().join(name);
        fs::create_dir_all(root.join("info/MB")).unwrap();
        fs::write(root.join("info/MB/bandwidth_gran"), "10\n").unwrap();
        fs::write(root.join("info/last_cmd_status"), "ok\n").unwrap();
        let fake = Self(Resctrl { root });
        fake.fill("");
        fake
    }

    /// A group as the kernel makes it.
    fn fill(&self, group: &str) {
        let dir = self.0.root.join(group);
        fs::create_dir_all(dir.join("mon_groups")).unwrap();
        fs::write(dir.join("tasks"), "").unwrap();
        fs::write(
            dir.join("schemata"),
            "    L3:0=fffff;1=fffff\n    MB:0=100\n",
        )
        .unwrap();
    }

    fn group(&self, plan: &IntelRdt) -> Group {
        Group::below(self.0.clone(), plan, "box")
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.root.join(path)).unwrap()
    }

    fn has(&self, path: &str) -> bool {
        self.0.root.join(path).exists()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0.root);
    }
}

fn plan(clos: Option<&str>, lines: &[(&str, &str)], monitoring: bool) -> IntelRdt {
    let line = |(field, line): &(&str, &str)| SchemataLine {
        field: (*field).to_owned(),
        line: (*line).to_owned(),
    };
    IntelRdt {
        clos: clos.map(str::to_owned),
        schemata: lines.iter().map(line).collect(),
        monitoring,
    }
}

/// Create, and what is to go with the container, as far as it is below the root.
fn create(group: &mut Group) -> Result<Vec<String>> {
    let mut owned = Vec::new();
    group.create(|group, dirs| {
        let name = |dir: &PathBuf| {
            dir.strip_prefix(&group.resctrl.root)
                .unwrap()
                .display()
                .to_string()
        };
        owned = dirs.iter().map(name).collect();
        Ok(())
    })?;
    Ok(owned)
}

#[test]
fn without_a_name_the_group_is_the_containers_own() {
    let fake = Fake::new("own");
    let mut group = fake.group(&plan(None, &[], false));
    assert_eq!(create(&mut group).unwrap(), ["box"]);
    assert!(fake.has("box"));
    group.undo().unwrap();
    assert!(!fake.has("box"));
}

#[test]
fn one_that_was_there_is_not_ours_to_remove() {
    let fake = Fake::new("there");
    fake.fill("box");
    let mut group = fake.group(&plan(None, &[("/x", "L3:0=f")], false));
    assert_eq!(create(&mut group).unwrap(), [""; 0]);
    assert!(fake.read("box/schemata").starts_with("L3:0=f\n"));
    group.undo().unwrap();
    assert!(fake.has("box"));
}

#[test]
fn a_named_group_must_be_there_or_be_described() {
    let fake = Fake::new("named");
    let error = create(&mut fake.group(&plan(Some("gold"), &[], false))).unwrap_err();
    assert_eq!(pointer_of(&error), "/linux/intelRdt/closID");
    assert!(error.to_string().contains("must be pre-created"), "{error}");
    assert!(!fake.has("gold"));

    // It is made, and stays after the container; only a create that fails takes it back. Here
    // it fails, since nothing makes the files of the new group.
    let mut group = fake.group(&plan(Some("gold"), &[(L3, "L3:0=f")], false));
    let error = create(&mut group).unwrap_err();
    assert_eq!(pointer_of(&error), L3);
    assert!(fake.has("gold"));
    group.undo().unwrap();
    assert!(!fake.has("gold"));

    fake.fill("gold");
    let mut group = fake.group(&plan(Some("gold"), &[], false));
    assert_eq!(create(&mut group).unwrap(), [""; 0]);
    assert_eq!(group.dir(), fake.0.root.join("gold"));
    assert_eq!(
        fake.read("gold/schemata"),
        "    L3:0=fffff;1=fffff\n    MB:0=100\n"
    );
}

#[test]
fn a_named_group_that_is_there_keeps_its_shares() {
    let fake = Fake::new("compare");
    fake.fill("gold");
    for (field, line) in [(L3, "L3:0=ff"), (MB, "MB:0=50")] {
        let error =
            create(&mut fake.group(&plan(Some("gold"), &[(field, line)], false))).unwrap_err();
        assert_eq!(pointer_of(&error), field);
        assert!(error.to_string().contains(line), "{error}");
    }
    // The same, written in another way; rounded as the kernel rounds; and `schemata`, which is
    // written without a comparison.
    let lines = [
        (L3, "L3:0=FFFFF"),
        (MB, "MB:0=91"),
        ("/linux/intelRdt/schemata/0", "L2:0=f"),
    ];
    create(&mut fake.group(&plan(Some("gold"), &lines, false))).unwrap();
    assert!(
        fake.read("gold/schemata")
            .starts_with("L3:0=FFFFF\nMB:0=91\nL2:0=f\n")
    );
}

#[test]
fn the_default_group_is_the_root() {
    let fake = Fake::new("root");
    let mut group = fake.group(&plan(Some("/"), &[], true));
    assert_eq!(group.dir(), fake.0.root);
    assert_eq!(create(&mut group).unwrap(), ["mon_groups/box"]);
    group.undo().unwrap();
    assert!(fake.has("tasks") && !fake.has("mon_groups/box"));
}

#[test]
fn a_monitoring_group_is_the_containers_own() {
    let fake = Fake::new("monitor");
    fake.fill("gold");
    let wanted = plan(Some("gold"), &[], true);
    let mut group = fake.group(&wanted);
    assert_eq!(create(&mut group).unwrap(), ["gold/mon_groups/box"]);
    fs::write(fake.0.root.join("gold/mon_groups/box/tasks"), "").unwrap();
    group.enter().unwrap();
    assert_eq!(fake.read("gold/tasks"), "0");
    assert_eq!(fake.read("gold/mon_groups/box/tasks"), "0");
    fs::remove_file(fake.0.root.join("gold/mon_groups/box/tasks")).unwrap();

    // A second of the same name would count the first one's processes.
    fs::write(fake.0.root.join("info/last_cmd_status"), "it is there\n").unwrap();
    let error = create(&mut fake.group(&wanted)).unwrap_err();
    assert_eq!(pointer_of(&error), MONITORING);
    assert!(
        error.to_string().contains("last_cmd_status: it is there"),
        "{error}"
    );
    assert!(fake.has("gold/mon_groups/box"));
    group.undo().unwrap();
    assert!(!fake.has("gold/mon_groups/box"));
}

#[test]
fn nothing_is_made_that_was_not_recorded() {
    let fake = Fake::new("record");
    let mut group = fake.group(&plan(None, &[], false));
    let done = group.create(|_, _| Err(Error::new("the disk is full")));
    assert!(done.is_err() && !fake.has("box"));
}

#[test]
fn exec_enters_what_is_still_there() {
    let fake = Fake::new("exec");
    fake.fill("gold");
    let path = |name: &str| fake.0.root.join(name).to_str().unwrap().to_owned();
    Running::of(&path("gold"), &path("gold/mon_groups/box"))
        .enter()
        .unwrap();
    assert_eq!(fake.read("gold/tasks"), "0");
    assert!(Running::of("", "").groups.is_empty());
    assert!(Running::of(&path("gone"), "").groups.is_empty());
}

#[test]
fn removing_twice_is_fine() {
    let fake = Fake::new("remove");
    let dirs = ["a", "a/b"].map(|name| fake.0.root.join(name));
    dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    remove(&dirs).unwrap();
    assert!(!fake.has("a"));
    remove(&dirs).unwrap();
}

#[test]
fn an_update_writes_its_lines_and_can_be_taken_back() {
    let fake = Fake::new("update");
    fake.fill("box");
    let dir = fake.0.root.join("box");
    let dir = dir.to_str().unwrap();
    let find = |plan: &IntelRdt, dir: &str| Change::at(fake.0.clone(), plan, dir);
    let memory = plan(None, &[(MB, "MB:0=20")], false);
    let change = find(&memory, dir).unwrap();
    change.make().unwrap();
    assert!(fake.read("box/schemata").starts_with("MB:0=20\n"));
    change.put_back();
    assert!(fake.read("box/schemata").starts_with("    L3:0=fffff"));

    let error = find(&plan(None, &[(L3, "L3:0=f")], false), dir).unwrap_err();
    assert_eq!(pointer_of(&error), L3);
    assert_eq!(error.step, "Intel RDT/CAT: l3 cache schema is not enabled");
    let error = find(&memory, "").unwrap_err();
    let words = "updating a non-existent Intel RDT configuration is not supported";
    assert_eq!(error.to_string(), words);
}
