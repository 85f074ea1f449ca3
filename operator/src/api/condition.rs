//! Condition types and reasons as enums (contract §16), the one merge, and the report journal (contract §20.3).
//!
//! `Ready` is no [`ConditionType`]: only [`summarize`] can make one, so there is one place that says when an application is
//! ready. Messages carry no times, counters, addresses or raw error text: one that changes on every retry would be a write
//! on every retry.

use serde_json::{Map, Value, json};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $word:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $doc])+ $word,)+ }

        impl $name {
            /// All of them, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$word),+];

            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$word => stringify!($word)),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// Every condition type except `Ready`.
    ConditionType {
        /// ApplicationInstance: the Helm engine still has something to do.
        Reconciling,
        /// It works, but not as requested; Operation: it ended with a reservation.
        Degraded,
        /// ApplicationInstance: changes are held back.
        Suspended,
        /// Something outside has to change first.
        Blocked,
        /// ApplicationInstance: it is being removed.
        Deleting,
        /// Operation: it passed all rules.
        Accepted,
        /// Operation: its child works.
        Running,
        /// Operation: it ended well.
        Succeeded,
        /// Operation: it ended badly.
        Failed,
        /// Operation: it was cancelled.
        Cancelled,
        /// Operation: a newer version wrote a state this one does not know.
        UnknownState,
        /// Cluster: the control plane answers.
        Connected,
        /// Cluster: it has not answered for a while.
        Disconnected,
        /// Cluster: the credential is accepted.
        Authenticated,
        /// Cluster: the controllers this operator relies on work.
        ControllersHealthy,
        /// Cluster: the installed CRDs are those of this version.
        CRDsRegistered,
        /// Cluster: events had to be dropped.
        BufferOverflow,
        /// Cluster: how job payloads are protected.
        PayloadSecurity,
    }
}

words! {
    /// Why a condition has its status. The list is closed; a reason goes only after a deprecation release.
    Reason {
        // ApplicationInstance, Ready.
        /// The first release is deployed and healthy.
        HelmReleaseReady,
        /// A changed chart or changed values are deployed and healthy.
        HelmReleaseUpgraded,
        /// Deployed and healthy, but something deserves a look.
        HelmReleaseReadyWithWarnings,
        /// The upgrade failed and the previous release runs again.
        RolledBack,
        /// Nothing is deployed on purpose.
        Placeholder,
        /// The first release is being made.
        Installing,
        /// A newer release is being made.
        Upgrading,
        /// The release could not be made.
        HelmReleaseFailed,
        /// The chart cannot be fetched.
        ChartUnreachable,
        /// A referenced Secret or ConfigMap is missing and nothing is deployed.
        WaitingForSecret,
        /// Reserved: a certificate is missing.
        WaitingForCertificate,
        /// Nothing is known yet.
        Reconciling,
        // Reconciling.
        /// The engine installs.
        HelmReleaseInstalling,
        /// The engine upgrades.
        HelmReleaseUpgrading,
        /// The chart is being fetched.
        ChartSourceSyncing,
        /// Nothing is going on.
        Stable,
        // Degraded.
        /// A release that was ready fails, or a first one failed for good.
        HelmReleaseDegraded,
        /// An upgrade failed for good.
        HelmReleaseUpgradeFailed,
        /// Released objects differ from the chart.
        Drifted,
        /// The catalog discourages this chart version.
        ChartVersionDeprecated,
        /// A forbidden chart version runs by override.
        ForbiddenVersionOverride,
        /// The catalog policy is missing or too old.
        CatalogUnreachable,
        /// Reserved: an endpoint does not answer.
        EndpointUnreachable,
        /// Nothing is wrong any more.
        Recovered,
        // Suspended.
        /// The reconcile annotation says disabled.
        ReconcilePaused,
        /// Somebody suspended the HelmRelease.
        ManuallySuspended,
        /// Reserved: outside the maintenance window.
        MaintenanceWindow,
        /// A restore works on the application's data.
        RestoreInProgress,
        /// Not suspended.
        Active,
        // Blocked.
        /// A rule of this cluster forbids it, or somebody else owns what we would write.
        PolicyDenied,
        /// The request is not valid.
        ValidationFailed,
        /// A referenced Secret or ConfigMap, or its key, is missing.
        MissingSecret,
        /// A needed controller is not installed.
        MissingDependencies,
        /// Reserved: the chart source is missing.
        MissingChartSource,
        /// A claim is needed.
        AwaitingApproval,
        /// The Helm engine cannot take values from there.
        ValuesSourceUnsupported,
        /// Nothing blocks.
        Unblocked,
        // Deleting.
        /// The release is being uninstalled.
        Uninstalling,
        /// Something else has to finish first.
        WaitingForChildResources,
        // Operation, Accepted.
        /// All rules passed.
        AdmissionPassed,
        /// The target does not exist.
        TargetNotFound,
        /// The target does not declare the capability.
        CapabilityMissing,
        /// The runner or the operator has no rights in the namespace.
        RbacProfileMissing,
        /// The chart has no such hook.
        HookNotFound,
        /// Hooks need a release.
        HookRequiresRelease,
        /// The hook carries secret text.
        HookContainsInlineSecret,
        /// Velero refused the backup.
        VeleroBackupValidationFailed,
        /// The namespace does not allow this template.
        OperationTemplateNotAllowedInNamespace,
        /// The object is meant for another cluster.
        ClusterIdMismatch,
        /// The object came back from a backup.
        RestoredFromBackup,
        /// Its start deadline has passed.
        Expired,
        // Operation, Running.
        /// Velero works on the backup.
        VeleroBackupInProgress,
        /// Velero works on the restore.
        VeleroRestoreInProgress,
        /// The snapshot is being taken.
        VolumeSnapshotInProgress,
        /// VolSync copies everything for the first time.
        VolSyncFirstSyncInProgress,
        /// VolSync copies.
        VolSyncSynchronizing,
        /// VolSync waits for its next turn.
        VolSyncIdle,
        /// The workflow runs.
        WorkflowInProgress,
        /// The workflow waits for a human.
        WorkflowSuspended,
        /// The job's pod runs.
        JobPodActive,
        /// The hook's pod runs.
        HelmHookJobActive,
        /// The engine started.
        EngineStarted,
        /// It is blocked and the engine was not started.
        EngineNotStarted,
        /// The child exists and waits.
        Pending,
        /// The backup ended well.
        VeleroBackupSucceeded,
        /// The restore ended well.
        VeleroRestoreSucceeded,
        /// The engine ended well.
        EngineCompleted,
        /// The engine ended badly.
        EngineFailed,
        /// It was cancelled.
        Cancelled,
        // Operation, Succeeded.
        /// The backup is complete.
        VeleroBackupCompleted,
        /// The restore is complete.
        VeleroRestoreCompleted,
        /// The snapshot can be used.
        VolumeSnapshotReadyToUse,
        /// The last copy ended well.
        VolSyncLastSyncSucceeded,
        /// The workflow ended well.
        WorkflowSucceeded,
        /// The job ended well.
        JobSucceeded,
        /// The hook ended well.
        HelmHookJobSucceeded,
        /// It has not ended well yet.
        NotYetSucceeded,
        // Operation, Failed.
        /// The backup failed.
        VeleroBackupFailed,
        /// The restore failed.
        VeleroRestoreFailed,
        /// The snapshot failed.
        VolumeSnapshotFailed,
        /// There is no such volume claim.
        SourcePvcNotFound,
        /// VolSync failed.
        VolSyncFailed,
        /// VolSync restored nothing.
        VolSyncNothingRestored,
        /// The workflow failed.
        WorkflowFailed,
        /// The workflow could not run.
        WorkflowError,
        /// The job's pod failed too often.
        JobFailedBackoffExceeded,
        /// The job took too long.
        JobActiveDeadlineExceeded,
        /// The hook failed.
        HelmHookJobFailed,
        /// Another change took its place.
        Superseded,
        /// It took too long.
        Timeout,
        /// Its preconditions did not hold in time.
        PreconditionFailed,
        /// Somebody deleted its child.
        ExternalDeletion,
        /// It may or may not have run.
        OutcomeUnknown,
        // Operation, Cancelled.
        /// A user cancelled it.
        CancelledByUser,
        /// Another operation replaced it.
        SupersededByOperation,
        /// The engine is being stopped.
        CancelRequested,
        // Operation, Blocked.
        /// Another operation works on the target.
        ConflictingOperation,
        /// The target is not Ready.
        TargetNotReady,
        /// The maintenance window is closed.
        OutsideMaintenanceWindow,
        /// Something it depends on does not answer.
        DependencyMissing,
        /// The engine's controller is not installed.
        EngineNotInstalled,
        /// There is no class for snapshots.
        MissingVolumeSnapshotClass,
        /// There is no such workflow template.
        WorkflowTemplateNotFound,
        /// Volumes exist that a restore would not overwrite.
        ExistingVolumes,
        /// A workflow waits for a human.
        AwaitingResume,
        // Operation, Degraded and UnknownState.
        /// Some parts failed.
        PartialFailure,
        /// VolSync reports trouble.
        VolSyncDegraded,
        /// Volumes were not restored.
        VolumesNotRestored,
        /// The application was not quiesced.
        QuiesceSkipped,
        /// A newer version wrote this phase.
        UnsupportedPhase,
        // Cluster.
        /// A round trip succeeded.
        RoundTripOK,
        /// First contact after registration.
        ControlPlaneReachable,
        /// The control plane does not answer.
        ControlPlaneUnreachable,
        /// There is no credential.
        CredentialMissing,
        /// The registration has not been answered.
        RegistrationPending,
        /// The registration token is not accepted.
        RegistrationTokenInvalid,
        /// Another Cluster object is the active one.
        NotSingleton,
        /// Push or gitops without an endpoint.
        EndpointNotConfigured,
        /// No round trip for too long.
        NoRecentRoundTrip,
        /// Connected again.
        Connected,
        /// The credential is accepted.
        CredentialAccepted,
        /// The registration is complete.
        RegistrationComplete,
        /// The credential was rotated.
        CredentialRotated,
        /// The credential is rejected.
        CredentialRejected,
        /// Reserved: the credential was revoked.
        CredentialRevoked,
        /// The credential expired.
        CredentialExpired,
        /// The Secret with the registration token is missing.
        TokenSecretMissing,
        /// The registration failed.
        RegistrationFailed,
        /// The rotation failed.
        RotationFailed,
        /// Legacy, read only.
        ControlPlaneAuthenticationFailed,
        /// All controllers work.
        AllControllersReady,
        /// A controller is missing.
        ControllerMissing,
        /// A controller does not work.
        ControllerDegraded,
        /// The CRDs fit.
        SchemaMatches,
        /// The CRDs do not fit.
        SchemaMismatch,
        /// A CRD version goes away.
        CRDVersionDeprecated,
        /// Events had to be dropped.
        EventBufferFull,
        /// All events are told again.
        BufferDrained,
        /// Protection is enforced.
        Enforced,
        /// An unsigned payload was let in.
        UnsignedPayloadAdmitted,
        /// A key is missing.
        KeyMissing,
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`.
    Unknown,
}

impl Status {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::True => "True",
            Status::False => "False",
            Status::Unknown => "Unknown",
        }
    }
}

/// A condition about to be written. Longest message: 1 KiB (contract §6.5), cut at a character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    type_: &'static str,
    status: Status,
    reason: Reason,
    message: String,
    generation: i64,
}

/// Longest message in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024;

impl Draft {
    /// Any condition except `Ready`, about `generation` of the object.
    pub fn new(
        type_: ConditionType,
        status: Status,
        reason: Reason,
        message: impl Into<String>,
        generation: i64,
    ) -> Self {
        Self { type_: type_.as_str(), status, reason, message: cut(message.into()), generation }
    }

    /// Condition type.
    pub fn type_(&self) -> &'static str {
        self.type_
    }

    /// Status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
    }
    message
}

/// What is known about an application as a whole; one variant per reason of `Ready` (contract §16.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    /// Nothing new: what was said last still holds.
    Unchanged,
    /// Nothing known yet.
    Unknown,
    /// First release deployed.
    Ready,
    /// Changed release deployed.
    Upgraded,
    /// Deployed, with a remark.
    ReadyWithWarnings,
    /// The previous release runs again.
    RolledBack,
    /// Nothing is deployed on purpose.
    Placeholder,
    /// First release on its way.
    Installing,
    /// Newer release on its way.
    Upgrading,
    /// Release failed.
    Failed,
    /// Chart cannot be fetched, nothing deployed.
    ChartUnreachable,
    /// Values reference missing, nothing deployed.
    WaitingForSecret,
}

/// The only maker of `Ready`. `None` when the last one stands.
pub fn summarize(outlook: Outlook, message: impl Into<String>, generation: i64) -> Option<Draft> {
    let (status, reason) = match outlook {
        Outlook::Unchanged => return None,
        Outlook::Unknown => (Status::Unknown, Reason::Reconciling),
        Outlook::Ready => (Status::True, Reason::HelmReleaseReady),
        Outlook::Upgraded => (Status::True, Reason::HelmReleaseUpgraded),
        Outlook::ReadyWithWarnings => (Status::True, Reason::HelmReleaseReadyWithWarnings),
        Outlook::RolledBack => (Status::True, Reason::RolledBack),
        Outlook::Placeholder => (Status::True, Reason::Placeholder),
        Outlook::Installing => (Status::False, Reason::Installing),
        Outlook::Upgrading => (Status::False, Reason::Upgrading),
        Outlook::Failed => (Status::False, Reason::HelmReleaseFailed),
        Outlook::ChartUnreachable => (Status::False, Reason::ChartUnreachable),
        Outlook::WaitingForSecret => (Status::False, Reason::WaitingForSecret),
    };
    Some(Draft { type_: READY, status, reason, message: cut(message.into()), generation })
}

/// The type of the summary.
pub const READY: &str = "Ready";

/// Order in which conditions of an ApplicationInstance are applied (contract §16.1).
pub const APPLICATION_INSTANCE: &[&str] = &["Ready", "Reconciling", "Degraded", "Suspended", "Blocked", "Deleting"];
/// Order in which conditions of an Operation are applied (contract §16).
pub const OPERATION: &[&str] =
    &["Succeeded", "Failed", "Cancelled", "Blocked", "Running", "Accepted", "Degraded", "UnknownState"];
/// Order in which conditions of a Cluster are applied (contract §16.3).
pub const CLUSTER: &[&str] = &[
    "Connected",
    "Disconnected",
    "Authenticated",
    "ControllersHealthy",
    "CRDsRegistered",
    "BufferOverflow",
    "PayloadSecurity",
];

/// The only writer of conditions. The transition time moves only when the status flips; entries and fields that this
/// version does not know stay as they were read. A draft about an older generation never lowers the stored one, unless
/// the status flips: then it is a new claim, about that generation and no newer one.
pub fn merge(old: &[Value], new: &[Draft], order: &[&str], now: &str) -> Vec<Value> {
    let mut merged: Vec<Value> = old.iter().filter(|entry| entry["type"].is_string()).cloned().collect();
    for draft in new {
        let index = merged.iter().position(|entry| entry["type"] == draft.type_);
        let mut entry = match index {
            Some(index) => merged.remove(index),
            None => Value::Object(Map::new()),
        };
        let same = entry["status"] == draft.status.as_str() && entry["lastTransitionTime"].is_string();
        if !same {
            entry["lastTransitionTime"] = json!(now);
        }
        entry["type"] = json!(draft.type_);
        entry["status"] = json!(draft.status.as_str());
        entry["reason"] = json!(draft.reason.as_str());
        entry["message"] = json!(draft.message);
        let known = entry["observedGeneration"].as_i64().unwrap_or_default();
        entry["observedGeneration"] = json!(if same { draft.generation.max(known) } else { draft.generation });
        merged.push(entry);
    }
    let rank = |entry: &Value| order.iter().position(|type_| entry["type"] == *type_).unwrap_or(order.len());
    merged.sort_by_key(rank);
    merged
}

/// One stored condition by type.
pub fn find<'a>(conditions: &'a [Value], type_: &str) -> Option<&'a Value> {
    conditions.iter().find(|entry| entry["type"] == type_)
}

/// The entries of `after` whose status or reason is not that of `before`; a first appearance is one.
pub fn transitions<'a>(before: &[Value], after: &'a [Value]) -> Vec<&'a Value> {
    after
        .iter()
        .filter(|entry| {
            let old = entry["type"].as_str().and_then(|type_| find(before, type_));
            old.is_none_or(|old| old["status"] != entry["status"] || old["reason"] != entry["reason"])
        })
        .collect()
}

/// How many transitions are kept.
pub const TRANSITIONS_MAX: usize = 20;

/// Appends `changes` to the journal inside `status` and counts `transitionSeq` up.
pub fn record(status: &mut Map<String, Value>, changes: &[Value], generation: i64, now: &str) {
    if changes.is_empty() {
        return;
    }
    let mut seq = status.get("transitionSeq").and_then(Value::as_i64).unwrap_or_default();
    let mut journal = status.get("transitions").and_then(Value::as_array).cloned().unwrap_or_default();
    for change in changes {
        // The stored number may be anybody's.
        seq = seq.saturating_add(1);
        journal.push(json!({
            "seq": seq,
            "type": change["type"],
            "status": change["status"],
            "reason": change["reason"],
            "message": change["message"],
            "time": now,
            "generation": generation,
        }));
    }
    let surplus = journal.len().saturating_sub(TRANSITIONS_MAX);
    journal.drain(..surplus);
    status.insert("transitionSeq".into(), json!(seq));
    status.insert("transitions".into(), Value::Array(journal));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(status: Status, message: &str, generation: i64) -> Draft {
        Draft::new(ConditionType::Blocked, status, Reason::PolicyDenied, message, generation)
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let first = merge(&[], &[draft(Status::True, "a", 1)], APPLICATION_INSTANCE, "t1");
        let second = merge(&first, &[draft(Status::True, "b", 2)], APPLICATION_INSTANCE, "t2");
        let third = merge(&second, &[draft(Status::False, "b", 2)], APPLICATION_INSTANCE, "t3");
        assert_eq!((&first[0]["lastTransitionTime"], &first[0]["message"]), (&json!("t1"), &json!("a")));
        assert_eq!((&second[0]["lastTransitionTime"], &second[0]["message"]), (&json!("t1"), &json!("b")));
        assert_eq!(second[0]["observedGeneration"], 2);
        assert_eq!(third[0]["lastTransitionTime"], "t3");
        assert!(transitions(&first, &second).is_empty(), "a new message is no transition");
        assert_eq!(transitions(&second, &third).len(), 1);
    }

    #[test]
    fn a_flip_claims_its_own_generation_and_nothing_else_lowers_it() {
        let second = merge(&[], &[draft(Status::False, "a", 2)], APPLICATION_INSTANCE, "t1");
        let same = merge(&second, &[draft(Status::False, "a", 1)], APPLICATION_INSTANCE, "t2");
        let flipped = merge(&second, &[draft(Status::True, "a", 1)], APPLICATION_INSTANCE, "t2");
        assert_eq!((&same[0]["observedGeneration"], &flipped[0]["observedGeneration"]), (&json!(2), &json!(1)));
    }

    #[test]
    fn what_a_newer_version_wrote_stays_and_known_types_come_first() {
        let old = vec![
            json!({"type": "Novel", "status": "True", "reason": "New", "message": "", "lastTransitionTime": "t0"}),
            json!({"type": "Blocked", "status": "True", "reason": "Later", "message": "", "lastTransitionTime": "t0", "extra": 7}),
        ];
        let ready = summarize(Outlook::Ready, "deployed", 3).unwrap();
        let merged = merge(&old, &[draft(Status::True, "x", 3), ready], APPLICATION_INSTANCE, "t1");
        let types: Vec<_> = merged.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["Ready", "Blocked", "Novel"]);
        assert_eq!(merged[1]["extra"], 7);
        assert_eq!(merged[1]["lastTransitionTime"], "t0");
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let draft = draft(Status::True, &"ü".repeat(2000), 1);
        assert!(draft.message.len() <= MESSAGE_BYTES_MAX && draft.message.chars().all(|c| c == 'ü'));
    }

    #[test]
    fn the_journal_keeps_the_newest_twenty_and_never_reuses_a_number() {
        let mut status = Map::new();
        for number in 0..30 {
            let change = json!({"type": "Ready", "status": "True", "reason": format!("R{number}"), "message": ""});
            record(&mut status, &[change], 1, "t");
        }
        let journal = status["transitions"].as_array().unwrap();
        assert_eq!(journal.len(), TRANSITIONS_MAX);
        assert_eq!((&journal[0]["seq"], &journal[19]["seq"]), (&json!(11), &json!(30)));
        assert_eq!(status["transitionSeq"], 30);
    }

    #[test]
    fn the_words_are_the_golden_list() {
        let mut words: Vec<&str> = ConditionType::ALL.iter().map(|word| word.as_str()).collect();
        words.push("|");
        words.extend(Reason::ALL.iter().map(|word| word.as_str()));
        assert_eq!(words.join(" "), include_str!("words.txt").split_whitespace().collect::<Vec<_>>().join(" "));
    }
}
