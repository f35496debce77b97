//! The named random streams of one seed. Each name has a generator of its own, so that a draw more or less in one
//! never shifts another: a plan stays the same when the network draws differently.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// All random streams of one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// The streams of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The stream called `name` (`plan`, `workload`, `network`, ...), from its beginning each time it is asked for.
    pub fn stream(&self, name: &str) -> ChaCha8Rng {
        let mut key = [0; 32];
        for (lane, part) in (0_u64..).zip(key.chunks_exact_mut(8)) {
            let lane_seed = self.seed.wrapping_add(lane.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            part.copy_from_slice(&xxh3_64_with_seed(name.as_bytes(), lane_seed).to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    fn first(seed: u64, name: &str) -> u64 {
        Streams::new(seed).stream(name).next_u64()
    }

    #[test]
    fn same_seed_and_name_give_the_same_stream() {
        assert_eq!(first(7, "plan"), first(7, "plan"));
    }

    #[test]
    fn another_name_or_seed_gives_another_stream() {
        let all = [first(7, "plan"), first(7, "network"), first(8, "plan"), first(8, "network")];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one));
        }
    }

    #[test]
    fn streams_are_the_same_on_every_machine() {
        assert_eq!(first(0, "plan"), 318_625_932_944_590_767);
    }
}
