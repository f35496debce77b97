//! Failures that were found, replayed from their capsules (`scenarios/regressions/`): what broke does not break again.

use std::path::Path;
use std::sync::Arc;

use tenure_sim::run::{Capsule, Verdict, execute, judge, keep_panics_quiet};

#[test]
fn what_broke_once_holds() {
    keep_panics_quiet();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/regressions");
    let mut replayed = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder of regressions") {
        let path = entry.expect("readable").path();
        let capsule = Capsule::read(&path).expect("a capsule");
        assert_ne!(capsule.verdict, Verdict::Green, "{}: a capsule of no failure", path.display());
        let plan = Arc::new(capsule.plan);
        let run = execute(&plan, None).expect("runs");
        let report = judge(&plan, &run, &capsule.scenario.invariants);
        assert_eq!(report.verdict, Verdict::Green, "{}", path.display());
        replayed += 1;
    }
    assert!(replayed > 0, "no regressions in {}", folder.display());
}
