//! Every fault at once: determinism, linearizable reads, nothing lost.

use tenure_sim::cluster::{ClientConfig, ClusterConfig, Planted, World};
use tenure_sim::fault::Lasting;
use tenure_sim::history::History;
use tenure_sim::store::EtcdVersion;

use crate::world::*;

/// A few clients that write and read under every kind of fault.
fn storm(seed: u64, config: ClusterConfig) -> (World, History) {
    simulate(seed, config, move |world| async move {
        for _ in 0..4 {
            world.add_client(ClientConfig::default(), program(busy));
        }
        let plan = draw_plan(seed, world.members().len() as u32, 4);
        run_plan(&world, &plan, 60_000).await;
        world.calm(&Lasting::default());
        world.sleep_until_ns(75_000 * MS).await;
        assert!(world.leader().is_some());
        let members = world.members();
        assert!(members.iter().all(|member| member.up && member.leader == world.leader()), "{members:?}");
        world
    })
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..8 {
        let (_, first) = storm(seed, ClusterConfig::default());
        let (_, second) = storm(seed, ClusterConfig::default());
        let place = first.first_difference(&second);
        assert_eq!(
            place,
            None,
            "seed {seed}: {:?} {:?}",
            first.steps[place.unwrap()],
            second.steps[place.unwrap()]
        );
        assert_ne!(first.hash(), storm(seed + 100, ClusterConfig::default()).1.hash());
    }
}

#[test]
fn under_every_fault_no_linearizable_read_is_stale_and_no_answered_write_is_lost() {
    let mut answered = 0;
    for seed in 0..60 {
        let version = EtcdVersion::VENDORED[seed as usize % 4];
        let members = [3, 3, 5, 3, 1][seed as usize % 5];
        let (world, history) = storm(seed, ClusterConfig { members, version, ..ClusterConfig::default() });
        assert_eq!(stale_reads(&history), Vec::<String>::new(), "seed {seed}");
        one_leader_a_term(&history, seed);
        answered += lost_writes(&history, &world.store_now(), seed);
    }
    assert!(answered > 60 * 100, "too few writes were answered: {answered}");
}

#[test]
fn members_that_read_without_asking_are_found_out() {
    let config = ClusterConfig { planted: Some(Planted::StaleReads), ..ClusterConfig::default() };
    let found = (0..20).filter(|&seed| !stale_reads(&storm(seed, config.clone()).1).is_empty()).count();
    assert!(found > 0);
}
