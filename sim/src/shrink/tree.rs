//! A plan as a tree of JSON: its lists and numbers, found wherever they are, and what can be done to them. Places are JSON
//! pointers (`/clients/0/lanes`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A list in the tree.
pub(super) struct List {
    /// Where.
    pub(super) place: String,
    /// The name of the field that it is, `watchers[]` for a list in a list.
    pub(super) field: String,
    /// How many elements.
    pub(super) len: usize,
}

/// An element of a list.
pub(super) struct Element {
    pub(super) list: String,
    pub(super) index: usize,
}

/// The elements of a list at a place; none if there is no such list.
pub(super) fn list<'a>(tree: &'a Value, place: &str) -> &'a [Value] {
    tree.pointer(place).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A number at a place; 0 if there is none.
pub(super) fn number(tree: &Value, place: &str) -> u64 {
    tree.pointer(place).and_then(Value::as_u64).unwrap_or(0)
}

/// Changes what is at a place, if something is.
pub(super) fn set(tree: &mut Value, place: &str, to: impl Into<Value>) {
    if let Some(value) = tree.pointer_mut(place) {
        *value = to.into();
    }
}

/// All lists below a place, those further up first. A list of names in another list is a value: the two ends of a link.
pub(super) fn lists(tree: &Value, below: &str) -> Vec<List> {
    let mut found = Vec::new();
    if let Some(value) = tree.pointer(below) {
        find_lists(value, below, "", &mut found);
    }
    found.sort_by_key(|list: &List| list.place.matches('/').count());
    found
}

fn find_lists(value: &Value, place: &str, field: &str, found: &mut Vec<List>) {
    match value {
        Value::Array(elements) => {
            let is_link = field.ends_with("[]") && elements.iter().all(Value::is_string);
            if !elements.is_empty() && !is_link {
                found.push(List { place: place.to_owned(), field: field.to_owned(), len: elements.len() });
            }
            for (index, element) in elements.iter().enumerate() {
                find_lists(element, &format!("{place}/{index}"), &format!("{field}[]"), found);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                find_lists(value, &format!("{place}/{name}"), name, found);
            }
        }
        _ => {}
    }
}

/// All values below a place that are no list and no object: place, name of the field, value.
pub(super) fn leaves(tree: &Value, below: &str) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    if let Some(value) = tree.pointer(below) {
        find_leaves(value, below, "", &mut found);
    }
    found
}

fn find_leaves(value: &Value, place: &str, field: &str, found: &mut Vec<(String, String, Value)>) {
    match value {
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                find_leaves(element, &format!("{place}/{index}"), field, found);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                find_leaves(value, &format!("{place}/{name}"), name, found);
            }
        }
        leaf => found.push((place.to_owned(), field.to_owned(), leaf.clone())),
    }
}

/// When each operation of a list was begun in a run, in milliseconds, by the list's place.
pub(super) type Asked = BTreeMap<String, Vec<u64>>;

/// Removes elements of lists. If times are given, what comes after one that is left out waits for as long as that took: in
/// that run if it was seen there, or else by itself.
pub(super) fn remove(tree: &mut Value, elements: &[&Element], asked: Option<&Asked>) {
    let mut by_list: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for element in elements {
        by_list.entry(&element.list).or_default().insert(element.index);
    }
    for (place, gone) in by_list {
        let Some(list) = tree.pointer_mut(place).and_then(Value::as_array_mut) else { continue };
        let all = std::mem::take(list);
        let began_ms = |index: usize| {
            let asked_ms = asked?.get(place)?.get(index)?;
            Some(asked_ms.saturating_sub(number(all.get(index)?, "/think_ms")))
        };
        let took_ms: Vec<u64> = (0..all.len())
            .map(|index| match (began_ms(index), began_ms(index + 1)) {
                (Some(from_ms), Some(to_ms)) => to_ms.saturating_sub(from_ms),
                _ => takes_ms(&all[index]),
            })
            .collect();
        let mut waits_ms = 0;
        let mut kept = Vec::new();
        for (index, mut element) in all.into_iter().enumerate() {
            if gone.contains(&index) {
                waits_ms += took_ms[index];
                continue;
            }
            let own_ms = number(&element, "/think_ms");
            if asked.is_some() {
                set(&mut element, "/think_ms", own_ms + std::mem::take(&mut waits_ms));
            }
            kept.push(element);
        }
        *list = kept;
    }
}

/// How long an operation takes by itself.
fn takes_ms(operation: &Value) -> u64 {
    number(operation, "/think_ms") + number(operation, "/hold/for_ms")
}

/// Whether a client has nothing to do.
pub(super) fn is_idle(client: &Value) -> bool {
    client.as_object().is_none_or(|fields| {
        fields.values().all(|value| match value {
            Value::Array(elements) => elements.is_empty(),
            Value::Object(_) => false,
            _ => true,
        })
    })
}

/// Leaves a client nothing to do.
pub(super) fn make_idle(client: &mut Value) {
    for value in client.as_object_mut().into_iter().flat_map(|fields| fields.values_mut()) {
        match value {
            Value::Array(elements) => elements.clear(),
            Value::Object(_) => *value = Value::Null,
            _ => {}
        }
    }
}

/// How many operations all clients have.
pub(super) fn operations(tree: &Value) -> usize {
    let lanes = list(tree, "/clients").iter().flat_map(|client| list(client, "/lanes"));
    let of_lane = |lane: &Value| -> usize {
        let fields = lane.as_object().into_iter().flat_map(|fields| fields.values());
        fields.filter_map(Value::as_array).map(Vec::len).sum()
    };
    lanes.map(of_lane).sum()
}

/// Takes clients out and numbers the others anew, in the faults too. Links of those that are gone go with them.
pub(super) fn take_out_clients(tree: &mut Value, gone: &[usize]) {
    let Some(clients) = tree.pointer_mut("/clients").and_then(Value::as_array_mut) else { return };
    let mut names = BTreeMap::new();
    let mut kept = Vec::new();
    for (index, client) in std::mem::take(clients).into_iter().enumerate() {
        let name = (!gone.contains(&index)).then(|| format!("c{}", kept.len()));
        if name.is_some() {
            kept.push(client);
        }
        names.insert(format!("c{index}"), name);
    }
    *clients = kept;
    if let Some(faults) = tree.pointer_mut("/faults") {
        rename(faults, &names);
    }
}

fn rename(value: &mut Value, names: &BTreeMap<String, Option<String>>) {
    let is_gone = |value: &Value| {
        let name = value.as_str().and_then(|text| names.get(text));
        name.is_some_and(Option::is_none)
    };
    match value {
        Value::String(text) => {
            if let Some(Some(name)) = names.get(text) {
                text.clone_from(name);
            }
        }
        Value::Array(elements) => {
            elements.retain(|element| !element.as_array().is_some_and(|pair| pair.iter().any(is_gone)));
            elements.iter_mut().for_each(|element| rename(element, names));
        }
        Value::Object(fields) => {
            // A fault at a client that is gone: no plan, so that the fault is to go first.
            fields.retain(|_, value| !is_gone(value));
            fields.values_mut().for_each(|value| rename(value, names));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_is_waited_for() {
        let mut tree = json!({"operations": [
            {"think_ms": 5, "hold": {"for_ms": 10}}, {"think_ms": 1, "hold": {"for_ms": 2}}, {"think_ms": 7}]});
        let element = |index| Element { list: "/operations".into(), index };
        let mut seen = tree.clone();
        remove(&mut tree, &[&element(0), &element(1)], Some(&Asked::new()));
        assert_eq!(tree, json!({"operations": [{"think_ms": 25}]}), "by themselves 15 and 3 ms");
        let asked = Asked::from([("/operations".to_owned(), vec![5, 101, 207])]);
        remove(&mut seen, &[&element(0), &element(1)], Some(&asked));
        assert_eq!(seen, json!({"operations": [{"think_ms": 207}]}), "in that run they took longer");
    }

    #[test]
    fn lists_are_found_at_any_depth_and_links_are_values() {
        let tree =
            json!({"faults": [{"fault": {"links": [["m0", "c1"]], "new": {"members": ["m0", "m1"]}}}]});
        let found: Vec<_> = lists(&tree, "/faults").into_iter().map(|list| (list.field, list.len)).collect();
        assert_eq!(found, [(String::new(), 1), ("links".into(), 1), ("members".into(), 2)]);
    }

    #[test]
    fn clients_that_are_taken_out_leave_no_hole() {
        let mut tree = json!({"clients": ["a", "b", "c"], "faults": [
            {"node": "c2"}, {"links": [["m0", "c1"], ["m0", "c2"]]}]});
        take_out_clients(&mut tree, &[1]);
        assert_eq!(
            tree,
            json!({"clients": ["a", "c"], "faults": [{"node": "c1"}, {"links": [["m0", "c1"]]}]})
        );
    }
}
