//! Left alone, the fake converges, whatever was armed before; and the same seed tells the same story.

use super::*;
use crate::flux::timing::{Profile, fraction};
use crate::script::{Order, Switch};

/// Switches whose effect ends with them; after the others somebody must ask for another attempt.
const PASSING: [Switch; 12] = [
    Switch::H1,
    Switch::H2,
    Switch::H3,
    Switch::H7,
    Switch::H8,
    Switch::H9,
    Switch::H14,
    Switch::H15,
    Switch::H16,
    Switch::H17,
    Switch::S1,
    Switch::S3,
];

fn settings() -> Settings {
    Settings { profile: Profile::Varied, lag: 2_000, ..Settings::default() }
}

/// Arms three switches chosen by the seed, upgrades under them, heals, asks once more, and returns every write.
async fn story(stage: &Stage, seed: u64) -> Vec<String> {
    stage.install(json!({"driftDetection": {"mode": "enabled"}}), 1).await;
    for count in 0..3u64 {
        let draw = fraction(seed, "switch", "story", count);
        let switch = PASSING[(draw * PASSING.len() as f64) as usize];
        let target = if format!("{switch:?}").starts_with('S') {
            Target::new("OCIRepository", "team", "shop-1-5-0")
        } else {
            release()
        };
        stage.world.arm(Order::new(switch).on(target).times(2));
    }
    stage.wait(600).await;
    stage.upgrade().await;
    stage.wait(1800).await;
    stage.world.heal();
    stage.patch_release(json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "again"}}})).await;
    stage.wait(3600).await;
    let (_, release) = stage.user.get(RELEASE).await;
    assert_eq!(stage.ready().await.split('/').next(), Some("True"), "seed {seed}: {release}");
    assert_eq!(release["status"]["observedGeneration"], release["metadata"]["generation"], "seed {seed}: {release}");
    let running = stage.world.deployed("team", "shop").expect("something runs");
    assert!(running.content.starts_with("shop 1.5.0"), "seed {seed}: {}", running.content);
    stage.release_writes()
}

async fn told(seed: u64) -> Vec<String> {
    let written = Mutex::new(Vec::new());
    let told = async |stage: &Stage| *written.lock().expect("no test panics inside") = story(stage, seed).await;
    play_seeded(settings(), seed, told).await;
    written.into_inner().expect("no test panics inside")
}

#[tokio::test(start_paused = true)]
async fn thirty_seeds_converge_after_any_passing_trouble() {
    for seed in 0..30 {
        assert!(!told(seed).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_writes_the_same_and_another_seed_something_else() {
    assert_eq!(told(3).await, told(3).await);
    let different = (4..12).map(told);
    let mut stories = std::collections::BTreeSet::new();
    for story in different {
        stories.insert(story.await);
    }
    assert!(stories.len() > 1);
}
