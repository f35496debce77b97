//! Adds the shards of a campaign up to what one run of all its seeds would have said.

use std::collections::BTreeMap;

use super::{Campaign, Shard};
use crate::scenario::BadInput;

/// One shard's campaign: where it was read from, what its user called the scenario, and what came of it.
pub struct Part {
    /// The file, for messages.
    pub file: String,
    /// The scenario as its user named it.
    pub named: String,
    /// What came of it.
    pub campaign: Campaign,
}

/// Adds shards up, each scenario by itself, in the order of their first appearance.
///
/// # Errors
/// If a shard is missing or there twice, or if shards are not of one campaign.
pub fn merge(parts: Vec<Part>) -> Result<Vec<(String, Campaign)>, BadInput> {
    let mut groups: Vec<(String, Vec<Part>)> = Vec::new();
    for part in parts {
        match groups.iter_mut().find(|(named, _)| *named == part.named) {
            Some((_, group)) => group.push(part),
            None => groups.push((part.named.clone(), vec![part])),
        }
    }
    groups.into_iter().map(|(named, group)| Ok((named, whole(group)?))).collect()
}

fn whole(group: Vec<Part>) -> Result<Campaign, BadInput> {
    let mut shards: BTreeMap<Shard, Part> = BTreeMap::new();
    for part in group {
        let Part { file, named, campaign } = &part;
        let Some(shard) = campaign.shard else {
            return Err(BadInput(format!(
                "{file}: {named} was run without --shard: there is nothing to add it to"
            )));
        };
        if let Some(first) = shards.values().next() {
            one_campaign(first, &part)?;
        }
        if let Some(twin) = shards.get(&shard) {
            return Err(BadInput(format!("{file}: shard {shard} of {named} is in {} too", twin.file)));
        }
        shards.insert(shard, part);
    }
    let mut shards = shards.into_iter();
    let Some((Shard { of, .. }, first)) = shards.next() else {
        return Err(BadInput("there is nothing to merge".to_owned()));
    };
    let mut found = vec![first.campaign.shard.map_or(0, |shard| shard.index)];
    let named = first.named;
    let mut sum = first.campaign;
    for (shard, part) in shards {
        found.push(shard.index);
        sum.absorb(part.campaign);
    }
    let missing: Vec<_> =
        (0..of).filter(|index| !found.contains(index)).map(|index| Shard { index, of }.to_string()).collect();
    if !missing.is_empty() {
        return Err(BadInput(format!("{named}: no file holds the shards {}", missing.join(", "))));
    }
    sum.shard = None;
    sum.seeds = sum.whole.clone();
    Ok(sum)
}

/// Whether two shards are of one campaign.
fn one_campaign(first: &Part, other: &Part) -> Result<(), BadInput> {
    let (a, b) = (&first.campaign, &other.campaign);
    let planted = |campaign: &Campaign| campaign.planted.map(|planted| planted.name);
    let differ = if a.scenario != b.scenario {
        "the scenario's text"
    } else if planted(a) != planted(b) {
        "the planted bug"
    } else if a.rates != b.rates {
        "the rates of the coverage marks"
    } else if a.whole != b.whole {
        "the range of seeds"
    } else if a.shard.map(|shard| shard.of) != b.shard.map(|shard| shard.of) {
        "the number of shards"
    } else {
        return Ok(());
    };
    Err(BadInput(format!(
        "{}: {} is not of the same campaign as in {}: {differ} is another",
        other.file, other.named, first.file
    )))
}
