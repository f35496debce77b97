//! What is in the program.

#[test]
fn there_is_no_simulator_in_it() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--manifest-path", manifest, "-e", "normal", "--prefix", "none"])
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(tree.starts_with("tenure-cli "), "{tree}{}", String::from_utf8_lossy(&output.stderr));
    for simulator in ["madsim", "tenure-sim"] {
        assert!(!tree.lines().any(|line| line.starts_with(simulator)), "{simulator} is in its tree");
    }
}
