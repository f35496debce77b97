//! The passes, each of which makes one thing of a plan smaller or plainer. They run in the order of the table, again and
//! again until none finds anything.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::search::Search;
use super::tree::{self, Element};

/// One pass.
type Pass = fn(&mut Search<'_>);

/// Those that take away most come first.
pub(super) const PASSES: &[Pass] = &[
    cut_after_the_failure,
    fewer_clients,
    fewer_faults,
    fewer_operations_in_time,
    fewer_operations,
    even_network,
    begin_sooner,
    calm_sooner,
    fewer_links,
    certain_faults,
    pin_what_was_lost,
    faults_begin_later,
    zero_numbers,
    plainer_words,
    halve_numbers,
    round_numbers,
    fewer_members,
    no_idle_clients,
];

/// These are not the client's doing but the promise that it is measured by, or what the run is.
const FIXED: &[&str] = &["seed", "ttl_s", "drift_bound_ppm", "progress_ms", "per_mille"];

/// What an operation does if nothing special is asked of it.
const PLAIN_WORDS: &[(&str, &str)] =
    &[("patience", r#""forever""#), ("ending", r#""release""#), ("heeds_loss", "true")];

/// Nothing after the failure matters.
fn cut_after_the_failure(search: &mut Search<'_>) {
    let Some(at_ns) = search.fails_at_ns() else { return };
    let (at_ms, duration_ms) = (at_ns.div_ceil(1_000_000), tree::number(&search.plan, "/duration_ms"));
    let ends = [at_ms + 1, at_ms + 50, at_ms + 1_000, at_ms.midpoint(duration_ms)];
    let plan = search.plan.clone();
    let shorter = ends.into_iter().filter(|&end_ms| end_ms < duration_ms);
    search.take_first(shorter.map(|end_ms| {
        let mut tree = plan.clone();
        tree::set(&mut tree, "/duration_ms", end_ms);
        for phase in ["/drain_at_ms", "/calm_at_ms"] {
            tree::set(&mut tree, phase, tree::number(&plan, phase).min(end_ms));
        }
        heal_by_the_calm(&mut tree, tree::number(&plan, "/calm_at_ms"));
        tree
    }));
}

/// Faults that were healed by the former calm are healed by the present one; those that come later do not come.
fn heal_by_the_calm(tree: &mut Value, former_ms: u64) {
    let calm_ms = tree::number(tree, "/calm_at_ms");
    let Some(faults) = tree.pointer_mut("/faults").and_then(Value::as_array_mut) else { return };
    faults.retain(|fault| tree::number(fault, "/at_ms") <= calm_ms);
    for fault in faults {
        let (at_ms, for_ms) = (tree::number(fault, "/at_ms"), tree::number(fault, "/for_ms"));
        if at_ms + for_ms <= former_ms {
            tree::set(fault, "/for_ms", for_ms.min(calm_ms - at_ms));
        }
    }
}

/// They stay as processes that do nothing: whoever is left keeps the number, and with it the network's draws.
fn fewer_clients(search: &mut Search<'_>) {
    let clients: Vec<String> = tree::list(&search.plan, "/clients")
        .iter()
        .enumerate()
        .filter(|(_, client)| !tree::is_idle(client))
        .map(|(index, _)| format!("/clients/{index}"))
        .collect();
    search.change_most(&clients, |tree, chosen| {
        for place in chosen {
            if let Some(client) = tree.pointer_mut(place) {
                tree::make_idle(client);
            }
        }
    });
}

fn fewer_faults(search: &mut Search<'_>) {
    let faults = elements_of(&search.plan, "/faults", "");
    search.change_most(&faults, |tree, chosen| tree::remove(tree, chosen, None));
}

fn fewer_operations_in_time(search: &mut Search<'_>) {
    fewer_below_clients(search, true);
}

fn fewer_operations(search: &mut Search<'_>) {
    fewer_below_clients(search, false);
}

/// Sessions, then their operations, then what is done in those: whatever lists there are.
fn fewer_below_clients(search: &mut Search<'_>, in_time: bool) {
    let mut fields = Vec::new();
    for list in tree::lists(&search.plan, "/clients") {
        if !list.field.is_empty() && !fields.contains(&list.field) {
            fields.push(list.field);
        }
    }
    for field in fields {
        // The plan may be another one by now.
        let asked = in_time.then(|| search.asked());
        let elements = elements_of(&search.plan, "/clients", &field);
        search.change_most(&elements, |tree, chosen| tree::remove(tree, chosen, asked.as_ref()));
    }
}

/// A fault at fewer links.
fn fewer_links(search: &mut Search<'_>) {
    let fields: BTreeSet<String> =
        tree::lists(&search.plan, "/faults").into_iter().map(|list| list.field).collect();
    for field in fields.iter().filter(|field| !field.is_empty()) {
        let elements = elements_of(&search.plan, "/faults", field);
        search.change_most(&elements, |tree, chosen| tree::remove(tree, chosen, None));
    }
}

/// What happens to some messages happens to all.
fn certain_faults(search: &mut Search<'_>) {
    let shares =
        tree::leaves(&search.plan, "/faults").into_iter().filter(|(_, field, _)| field == "per_mille");
    let places: Vec<String> = shares.map(|(place, ..)| place).collect();
    search.change_most(&places, |tree, chosen| {
        for place in chosen {
            tree::set(tree, place, 1_000);
        }
    });
}

/// What happens to some messages by chance happens for certain to those that it happened to: a fault for each, as long as
/// it takes to send one. Without chance, less of the rest can be left out without changing who meets it.
fn pin_what_was_lost(search: &mut Search<'_>) {
    let by_chance = |fault: &Value| {
        let share = fault.pointer("/fault/per_mille").and_then(Value::as_u64);
        share.is_some_and(|share| share < 1_000)
    };
    let faults = tree::list(&search.plan, "/faults").to_vec();
    if !faults.iter().any(by_chance) {
        return;
    }
    let losses = search.losses();
    let pinned = |fault: &Value| -> Vec<Value> {
        let from_ms = tree::number(fault, "/at_ms");
        let to_ms = from_ms + tree::number(fault, "/for_ms").max(1);
        let links = tree::list(fault, "/fault/links");
        let of_it = losses.iter().filter(|loss| (from_ms..to_ms).contains(&loss.at_ms));
        of_it
            .filter(|loss| links.is_empty() || links.contains(&json!(loss.link)))
            .map(|loss| {
                let mut one = fault.clone();
                tree::set(&mut one, "/at_ms", loss.at_ms);
                tree::set(&mut one, "/for_ms", 1);
                tree::set(&mut one, "/fault/per_mille", 1_000);
                tree::set(&mut one, "/fault/links", json!([loss.link]));
                one
            })
            .collect()
    };
    let plan = search.plan.clone();
    let chances: Vec<usize> = (0..faults.len()).filter(|&index| by_chance(&faults[index])).collect();
    search.change_most(&chances, |tree, chosen| {
        let all = faults.iter().enumerate().flat_map(|(index, fault)| {
            if chosen.contains(&&index) { pinned(fault) } else { vec![fault.clone()] }
        });
        let mut all: Vec<Value> = all.collect();
        all.sort_by_key(|fault| tree::number(fault, "/at_ms"));
        tree::set(tree, "/faults", all);
    });
    // One that lost little is not worth a fault for each: those that are not needed go at once.
    if search.plan != plan {
        fewer_faults(search);
    }
}

/// The first half of a fault's time is left out.
fn faults_begin_later(search: &mut Search<'_>) {
    let faults: Vec<usize> = (0..tree::list(&search.plan, "/faults").len()).collect();
    search.change_most(&faults, |tree, chosen| {
        for index in chosen {
            let (at, lasting) = (format!("/faults/{index}/at_ms"), format!("/faults/{index}/for_ms"));
            let later_ms = tree::number(tree, &lasting) / 2;
            let (at_ms, for_ms) =
                (tree::number(tree, &at) + later_ms, tree::number(tree, &lasting) - later_ms);
            tree::set(tree, &at, at_ms);
            tree::set(tree, &lasting, for_ms);
        }
    });
}

/// All elements of the lists of this name.
fn elements_of(plan: &Value, below: &str, field: &str) -> Vec<Element> {
    let lists = tree::lists(plan, below).into_iter().filter(|list| list.field == field);
    lists
        .flat_map(|list| (0..list.len).map(move |index| Element { list: list.place.clone(), index }))
        .collect()
}

/// Every message, and every write to a disk, takes the shortest of its times.
fn even_network(search: &mut Search<'_>) {
    let spans: Vec<String> = tree::lists(&search.plan, "/cluster")
        .into_iter()
        .filter(|list| list.field.ends_with("_us") && list.len == 2)
        .map(|list| list.place)
        .collect();
    search.change_most(&spans, |tree, chosen| {
        for place in chosen {
            let shortest = tree::number(tree, &format!("{place}/0"));
            tree::set(tree, place, json!([shortest, shortest]));
        }
    });
}

/// The time before anything happens is left out.
fn begin_sooner(search: &mut Search<'_>) {
    let plan = search.plan.clone();
    let mut starts: Vec<String> =
        (0..tree::list(&plan, "/faults").len()).map(|index| format!("/faults/{index}/at_ms")).collect();
    let firsts = tree::lists(&plan, "/clients").into_iter().map(|list| format!("{}/0/think_ms", list.place));
    starts.extend(firsts.filter(|place| plan.pointer(place).is_some()));
    // What the calm promises has as much time as before.
    let first = starts.iter().map(String::as_str).chain(["/calm_at_ms"]);
    let Some(first_ms) = first.map(|place| tree::number(&plan, place)).min() else { return };
    let sooner_ms = [first_ms, first_ms / 10 * 9, first_ms / 2, first_ms / 10];
    search.take_first(sooner_ms.into_iter().filter(|&by_ms| by_ms > 0).map(|by_ms| {
        let mut tree = plan.clone();
        let phases = ["/duration_ms", "/calm_at_ms", "/drain_at_ms"].map(str::to_owned);
        for place in starts.iter().chain(&phases) {
            tree::set(&mut tree, place, tree::number(&plan, place).saturating_sub(by_ms));
        }
        tree
    }));
}

/// The faults are over sooner, and all that comes after them is as much sooner.
fn calm_sooner(search: &mut Search<'_>) {
    let plan = search.plan.clone();
    let calm_ms = tree::number(&plan, "/calm_at_ms");
    let ends = tree::list(&plan, "/faults")
        .iter()
        .map(|fault| tree::number(fault, "/at_ms") + tree::number(fault, "/for_ms"))
        .filter(|&end_ms| end_ms <= calm_ms);
    let healed_ms = ends.max().unwrap_or(0);
    let sooner = [0, healed_ms, healed_ms.midpoint(calm_ms), calm_ms.saturating_sub(1_000)];
    search.take_first(sooner.into_iter().filter(|&at_ms| at_ms < calm_ms).map(|at_ms| {
        let mut tree = plan.clone();
        for phase in ["/calm_at_ms", "/drain_at_ms", "/duration_ms"] {
            let former_ms = tree::number(&plan, phase);
            tree::set(&mut tree, phase, former_ms.saturating_sub(calm_ms - at_ms).max(at_ms));
        }
        heal_by_the_calm(&mut tree, calm_ms);
        tree
    }));
}

fn zero_numbers(search: &mut Search<'_>) {
    each_number(search, |_| 0);
}

fn halve_numbers(search: &mut Search<'_>) {
    each_number(search, |number| number / 2);
}

/// To one digit and zeros.
fn round_numbers(search: &mut Search<'_>) {
    each_number(search, |number| {
        let digits = number.unsigned_abs().checked_ilog10().unwrap_or(0);
        let unit = 10_i64.saturating_pow(digits);
        number / unit * unit
    });
}

fn each_number(search: &mut Search<'_>, smaller: impl Fn(i64) -> i64) {
    let plan = search.plan.clone();
    let numbers: Vec<(String, i64)> = ["/clients", "/faults"]
        .into_iter()
        .flat_map(|below| tree::leaves(&plan, below))
        .filter(|(_, field, _)| !FIXED.contains(&field.as_str()))
        .filter_map(|(place, _, value)| Some((place, value.as_i64()?)))
        .filter(|(_, number)| smaller(*number) != *number)
        .collect();
    search.change_most(&numbers, |tree, chosen| {
        for (place, number) in chosen {
            tree::set(tree, place, smaller(*number));
        }
    });
}

fn plainer_words(search: &mut Search<'_>) {
    let mut wanted = Vec::new();
    for (field, word) in PLAIN_WORDS {
        let Ok(word) = serde_json::from_str::<Value>(word) else { continue };
        for place in places_of(&search.plan, field) {
            wanted.push((place, word.clone()));
        }
    }
    search.change_most(&wanted, |tree, chosen| {
        for (place, word) in chosen {
            tree::set(tree, place, word.clone());
        }
    });
}

/// Every place below the clients whose field has this name, whatever is there.
fn places_of(plan: &Value, field: &str) -> Vec<String> {
    let inside = format!("/{field}/");
    let places: BTreeSet<String> = tree::leaves(plan, "/clients")
        .into_iter()
        .filter_map(|(place, name, _)| match place.find(&inside) {
            Some(at) => Some(place[..at + inside.len() - 1].to_owned()),
            None => (name == field).then_some(place),
        })
        .collect();
    places.into_iter().collect()
}

fn fewer_members(search: &mut Search<'_>) {
    let plan = search.plan.clone();
    let members = tree::number(&plan, "/cluster/members");
    search.take_first([1, 3].into_iter().filter(|&fewer| fewer < members).map(|fewer| {
        let mut tree = plan.clone();
        tree::set(&mut tree, "/cluster/members", fewer);
        tree
    }));
}

/// Clients that do nothing are not there.
fn no_idle_clients(search: &mut Search<'_>) {
    let clients = tree::list(&search.plan, "/clients");
    let idle: Vec<usize> = (0..clients.len()).filter(|&index| tree::is_idle(&clients[index])).collect();
    search.change_most(&idle, |tree, chosen| {
        tree::take_out_clients(tree, &chosen.iter().map(|&&index| index).collect::<Vec<_>>());
    });
}
