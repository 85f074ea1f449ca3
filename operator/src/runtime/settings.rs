//! The settings of this cluster, as every decision gets them.
//!
//! They are read from the server, at most every ten seconds for all keys together (contract §27.3). A watch that saw a
//! Cluster change forgets them first and wakes afterwards, so no pass it woke decides on older ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::api::{OPS_GROUP, VERSION};
use crate::cluster_api::{ApiError, Caps, ClusterApi, Kind, Object, Scope};
use crate::policy::Settings;

/// How long a reading counts (contract §27.3: credentials and Cluster).
const FRESH: Duration = Duration::from_secs(10);

/// Reads and remembers. Cheap to clone.
pub(super) struct SettingsReader<A> {
    api: Arc<A>,
    caps: watch::Receiver<Arc<Caps>>,
    home: Arc<str>,
    reporter: Arc<str>,
    forgotten: Forget,
    read: Arc<Mutex<Option<Reading>>>,
}

impl<A> Clone for SettingsReader<A> {
    fn clone(&self) -> Self {
        Self {
            api: Arc::clone(&self.api),
            caps: self.caps.clone(),
            home: Arc::clone(&self.home),
            reporter: Arc::clone(&self.reporter),
            forgotten: self.forgotten.clone(),
            read: Arc::clone(&self.read),
        }
    }
}

struct Reading {
    clusters: Vec<Object>,
    at: Instant,
    age: u64,
}

/// Makes every reader forget. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Forget(Arc<AtomicU64>);

impl Forget {
    pub(super) fn forget(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn age(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl<A: ClusterApi> SettingsReader<A> {
    pub(super) fn new(
        api: Arc<A>,
        caps: watch::Receiver<Arc<Caps>>,
        home: &str,
        reporter: &str,
        forgotten: Forget,
    ) -> Self {
        Self { api, caps, home: home.into(), reporter: reporter.into(), forgotten, read: Arc::default() }
    }

    /// The settings now.
    ///
    /// # Errors
    /// The list of Clusters failed: without settings nothing is decided.
    pub(super) async fn read(&self) -> Result<Settings, ApiError> {
        let caps = Arc::clone(&self.caps.borrow());
        // One reader at a time: the others then find what it read.
        let mut read = self.read.lock().await;
        let age = self.forgotten.age();
        let fresh = read.as_ref().is_some_and(|reading| reading.age == age && reading.at.elapsed() < FRESH);
        if !fresh {
            let at = Instant::now();
            *read = Some(Reading { clusters: self.clusters(&caps).await?, at, age });
        }
        let clusters = read.as_ref().map(|reading| reading.clusters.as_slice()).unwrap_or_default();
        let settings = Settings::from_clusters(clusters, (*caps).clone(), &self.reporter);
        Ok(Settings { home: self.home.to_string(), ..settings })
    }

    /// The settings that these Clusters make.
    pub(super) fn of(&self, clusters: &[Object]) -> Settings {
        Settings::from_clusters(clusters, (**self.caps.borrow()).clone(), &self.reporter)
    }

    async fn clusters(&self, caps: &Caps) -> Result<Vec<Object>, ApiError> {
        let kind = Kind::cluster(OPS_GROUP, VERSION, "Cluster", "clusters");
        if caps.served(&kind.group, &kind.plural, &[VERSION]).is_none() {
            return Ok(Vec::new());
        }
        self.api.list(&kind, &Scope::all()).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster_api::MockClusterApi;

    #[tokio::test(start_paused = true)]
    async fn read_once_in_ten_seconds_unless_forgotten() {
        let mut api = MockClusterApi::new();
        api.expect_list().times(3).returning(|_, _| {
            Box::pin(async { Ok(vec![Object(json!({"metadata": {"name": "c"}, "spec": {"clusterId": "c1"}}))]) })
        });
        let served =
            Caps { versions: [("ops.vworkspace.io/clusters".into(), vec![VERSION.into()])].into(), ..Caps::default() };
        let (_caps, known) = watch::channel(Arc::new(served));
        let forget = Forget::default();
        let reader = SettingsReader::new(Arc::new(api), known, "system", "pod", forget.clone());
        for _ in 0..5 {
            assert_eq!(reader.read().await.expect("settings").cluster_id.as_deref(), Some("c1"));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        forget.forget();
        reader.read().await.expect("settings");
        tokio::time::advance(FRESH).await;
        reader.read().await.expect("settings");
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_kind_there_are_defaults_and_a_failed_read_is_an_error() {
        let (_caps, known) = watch::channel(Arc::new(Caps::default()));
        let reader = SettingsReader::new(Arc::new(MockClusterApi::new()), known, "system", "pod", Forget::default());
        assert_eq!(reader.read().await.expect("settings").cluster_id, None);

        let mut api = MockClusterApi::new();
        api.expect_list().returning(|_, _| Box::pin(async { Err(ApiError::Unknown { why: "x".into() }) }));
        let served =
            Caps { versions: [("ops.vworkspace.io/clusters".into(), vec![VERSION.into()])].into(), ..Caps::default() };
        let (_caps, known) = watch::channel(Arc::new(served));
        let reader = SettingsReader::new(Arc::new(api), known, "system", "pod", Forget::default());
        assert!(reader.read().await.is_err());
    }
}
