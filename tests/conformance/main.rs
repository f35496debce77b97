//! The conformance suite: what the public API promises, each promise tried over every backend: the simulated etcd and
//! real servers of four lines. The list is in `promises.rs`, the table of it in `CONFORMANCE.md`.

#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "the tests themselves run on real threads and tokio")]

mod barriers;
mod counters;
mod cx;
mod double_barriers;
mod elections;
mod heirs;
mod lockers;
mod losses;
mod lossy;
mod mutexes;
mod on_real;
mod on_simulated;
mod priority_queues;
mod promises;
mod queues;
mod rwlocks;
mod semaphores;
mod sessions;
mod stms;
mod waits;

use promises::for_each_promise;

/// Makes one test of each promise: `$run(name, promise)`.
macro_rules! tests {
    (($run:path) $($module:ident { $($promise:ident => $etcds:literal,)* })*) => {
        $(mod $module {
            $(#[test]
            fn $promise() {
                $run(
                    concat!(stringify!($module), ".", stringify!($promise)),
                    |cx| Box::pin(crate::$module::$promise(cx)),
                );
            })*
        })*
    };
}

mod simulated {
    super::for_each_promise!(tests!((crate::on_simulated::run)));
}

mod etcd_3_4 {
    super::for_each_promise!(tests!((crate::on_real::run_3_4)));
}

mod etcd_3_5 {
    super::for_each_promise!(tests!((crate::on_real::run_3_5)));
}

mod etcd_3_6 {
    super::for_each_promise!(tests!((crate::on_real::run_3_6)));
}

mod etcd_3_7 {
    super::for_each_promise!(tests!((crate::on_real::run_3_7)));
}

/// The lines of the table.
macro_rules! rows {
    (() $($module:ident { $($promise:ident => $etcds:literal,)* })*) => {
        &[$($((stringify!($module), stringify!($promise), $etcds)),*),*]
    };
}

#[test]
fn the_table_lists_every_promise() {
    let rows: &[(&str, &str, &str)] = for_each_promise!(rows!(()));
    let mut table = String::from(
        "# What the library promises\n\n\
         Each row is a test in `tests/conformance/` that runs over the simulated etcd and over real servers 3.4.45, 3.5.34, \
         3.6.15\nand 3.7.2. The third column names the test of etcd's own that asks for the same, if there is one. \
         `tests/conformance/main.rs`\nchecks that this page is true; run it with `UPDATE=1` to write it anew.\n\n\
         | of | promise | etcd's own test |\n|---|---|---|\n",
    );
    for (module, promise, etcds) in rows {
        let etcds = if etcds.is_empty() { String::new() } else { format!("`{etcds}`") };
        table += &format!("| {module} | {} | {etcds} |\n", promise.replace('_', " "));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/CONFORMANCE.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &table).expect("the table can be written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, table, "CONFORMANCE.md is out of date: run this test with UPDATE=1");
}
