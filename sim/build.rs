//! Refuses to be built without the cfg that the simulator needs, in one line, before anything else is compiled for nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_MADSIM").is_none() {
        println!(
            "cargo::error=tenure-sim needs `--cfg madsim`: put [build] rustflags = [\"--cfg\", \"madsim\"] into \
             .cargo/config.toml, and unset RUSTFLAGS, which would take its place"
        );
    }
}
