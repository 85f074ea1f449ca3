//! The closed vocabulary of conditions (contract §16): types and reasons.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_the_golden_list() {
        let mut words: Vec<&str> = ConditionType::ALL.iter().map(|word| word.as_str()).collect();
        words.push("|");
        words.extend(Reason::ALL.iter().map(|word| word.as_str()));
        assert_eq!(words.join(" "), include_str!("../words.txt").split_whitespace().collect::<Vec<_>>().join(" "));
    }
}
