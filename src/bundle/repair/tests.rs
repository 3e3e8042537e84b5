use super::*;
use oci_spec::runtime as oci;

/// What oci-spec makes of a config that it refuses unmended.
fn mended(config: Value) -> (oci::Spec, Vec<String>) {
    serde_json::from_value::<oci::Spec>(config.clone())
        .expect_err("oci-spec takes this now: the repair can go");
    let mut config = config;
    let mut warnings = Vec::new();
    super::config(&mut config, &mut warnings);
    (serde_json::from_value(config).unwrap(), warnings)
}

fn mended_process(process: Value) -> (Process, Vec<String>) {
    let (spec, warnings) = mended(json!({"process": process}));
    (spec.process().clone().unwrap(), warnings)
}

fn mended_resources(resources: Value) -> LinuxResources {
    let (spec, warnings) = mended(json!({"linux": {"resources": resources}}));
    assert!(warnings.is_empty());
    spec.linux().as_ref().unwrap().resources().clone().unwrap()
}

#[test]
fn an_unknown_capability_is_left_out_with_a_warning() {
    let (process, warnings) = mended_process(json!({"cwd": "/", "user": {}, "capabilities": {
        "bounding": ["CAP_FUTURE", "CAP_KILL"], "ambient": ["CAP_FUTURE"]}}));
    let sets = process.capabilities().clone().unwrap();
    assert_eq!(sets.bounding().as_ref().unwrap().len(), 1);
    assert!(sets.ambient().as_ref().unwrap().is_empty());
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("CAP_FUTURE"));
}

#[test]
fn a_missing_user_is_root() {
    let (process, warnings) = mended_process(json!({"cwd": "/"}));
    assert_eq!((process.user().uid(), process.user().gid()), (0, 0));
    assert!(warnings.is_empty());
}

#[test]
fn a_missing_cwd_is_left_to_the_plan() {
    let (process, _) = mended_process(json!({"user": {"uid": 7}}));
    assert_eq!(process.user().uid(), 7);
    assert!(process.cwd().as_os_str().is_empty());
}

#[test]
fn the_specifications_scheduler_flags_are_known() {
    use oci::LinuxSchedulerFlag as Flag;
    let (process, _) = mended_process(json!({"cwd": "/", "user": {}, "scheduler": {
        "policy": "SCHED_OTHER",
        "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]}}));
    let flags = process.scheduler().as_ref().unwrap().flags().clone();
    assert_eq!(
        flags.unwrap(),
        [Flag::SchedResetOnFork, Flag::SchedFlagDLOverrun]
    );
}

#[test]
fn a_null_counts_as_not_there() {
    let (spec, warnings) = mended(json!({"root": {"path": "r", "readonly": null},
        "process": {"user": {"uid": null, "gid": 7}, "cwd": null, "args": null},
        "linux": {"seccomp": null, "resources": {"cpu": {"idle": null},
            "hugepageLimits": [{"pageSize": "2MB", "limit": null}]}}}));
    assert_eq!(spec.process().as_ref().unwrap().user().gid(), 7);
    assert!(warnings.is_empty());
    let mut list = json!([null, {"a": null}]);
    nulls(&mut list);
    assert_eq!(list, json!([null, {}]));
}

#[test]
fn a_pids_limit_of_null_is_none() {
    let resources = mended_resources(json!({"pids": {"limit": null}}));
    assert!(resources.pids().is_none());
}

/// What comes of a config in which oci-spec makes something up.
fn doubted(mut config: Value) -> Result<oci::Spec, String> {
    let read: Config = serde_json::from_value(config.clone()).unwrap();
    assert!((CONFIG.doubts)(&read), "oci-spec makes nothing up now");
    (CONFIG.mend)(&mut config, &mut Vec::new());
    serde_json::from_value(config).map_err(|error| error.to_string())
}

#[test]
fn a_device_has_both_numbers_unless_it_is_a_fifo() {
    let read = |device: Value| doubted(json!({"linux": {"devices": [device]}}));
    assert!(read(json!({"path": "/d", "type": "c", "minor": 3})).is_err());
    assert!(read(json!({"path": "/d", "type": "b", "major": 7})).is_err());
    assert!(read(json!({"path": "/d", "type": "b", "major": 8, "minor": 0})).is_ok());
    assert!(read(json!({"path": "/d", "type": "p"})).is_ok());
}

#[test]
fn an_id_mapping_has_a_host_s_id() {
    for list in ["uidMappings", "gidMappings"] {
        let read = |map: Value| doubted(json!({"linux": {list: [map]}}));
        assert!(read(json!({"containerID": 0, "size": 1})).is_err());
        assert!(read(json!({"hostID": 0, "size": 1})).is_err());
        assert!(read(json!({"containerID": 0, "hostID": 0, "size": 1})).is_ok());
    }
}

#[test]
fn a_limit_has_both_values_and_a_priority_its_class() {
    let read = |name: &str, value: Value| {
        doubted(json!({"process": {"cwd": "/", "user": {}, name: value}}))
    };
    let limit = |limit: Value| read("rlimits", json!([limit]));
    assert!(limit(json!({"type": "RLIMIT_CORE", "hard": 1})).is_err());
    assert!(limit(json!({"type": "RLIMIT_CORE", "soft": 0})).is_err());
    assert!(limit(json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0})).is_ok());
    let priority = |priority: Value| read("ioPriority", priority);
    assert!(priority(json!({"class": "IOPRIO_CLASS_RT"})).is_err());
    assert!(priority(json!({"priority": 4})).is_err());
    assert!(priority(json!({"class": "IOPRIO_CLASS_BE", "priority": 4})).is_ok());
    assert!(priority(json!({"class": "IOPRIO_CLASS_IDLE"})).is_ok());
}

#[test]
fn no_pids_limit_and_one_of_zero_differ() {
    let read = |pids: Value| {
        let mut config = json!({"linux": {"resources": {"pids": pids}}});
        let read: Config = serde_json::from_value(config.clone()).unwrap();
        assert!((CONFIG.doubts)(&read), "oci-spec tells them apart now");
        (CONFIG.mend)(&mut config, &mut Vec::new());
        let read: oci::Spec = serde_json::from_value(config).unwrap();
        let resources = read.linux().as_ref().unwrap().resources().clone();
        resources.unwrap().pids().map(|pids| pids.limit())
    };
    assert_eq!(read(json!({})), None);
    assert_eq!(read(json!({"limit": 0})), Some(0));
}

#[test]
fn a_device_rule_of_no_type_is_of_any() {
    let rules = json!([{"allow": false, "type": "", "access": "rwm"}]);
    let resources = mended_resources(json!({"devices": rules}));
    assert_eq!(resources.devices().as_ref().unwrap()[0].typ(), None);
}

#[test]
fn a_huge_page_limit_may_be_the_largest_number() {
    let limits = json!([{"pageSize": "2MB", "limit": u64::MAX}]);
    let resources = mended_resources(json!({"hugepageLimits": limits}));
    let limit = resources.hugepage_limits().as_ref().unwrap()[0].limit();
    assert_eq!(limit, i64::MAX);
}

#[test]
fn the_older_words_for_monitoring_mean_it() {
    let monitoring = |rdt: Value| {
        let mut value = json!({"ociVersion": "1.2.0", "linux": {"intelRdt": rdt}});
        let read: Config = serde_json::from_value(value.clone()).unwrap();
        let rdt = |config: Config| config.spec.linux().clone()?.intel_rdt().clone();
        assert!((CONFIG.doubts)(&read));
        let read = rdt(read).unwrap();
        #[allow(deprecated)]
        let known = read.enable_cmt().or(*read.enable_mbm());
        assert_eq!(known, None, "oci-spec knows them now: the repair can go");
        config(&mut value, &mut Vec::new());
        let read = rdt(serde_json::from_value(value).unwrap()).unwrap();
        read.enable_monitoring().unwrap_or(false)
    };
    assert!(monitoring(json!({"enableCMT": true})));
    assert!(monitoring(json!({"enableMBM": true, "enableCMT": false})));
    assert!(monitoring(
        json!({"enableMonitoring": true, "enableMBM": false})
    ));
    assert!(!monitoring(json!({"enableCMT": false, "enableMBM": null})));
}

#[test]
fn wrong_types_are_left_for_the_parse_to_name() {
    let wrong = json!({"process": {"user": 1, "cwd": 2, "capabilities": [3],
        "scheduler": 4},
        "linux": {"resources": {"pids": 6, "devices": {}, "hugepageLimits": [7]}}});
    let mut config = wrong.clone();
    let mut warnings = Vec::new();
    super::config(&mut config, &mut warnings);
    assert_eq!(config, wrong);
}
