//! Tokens, credentials and clusters (contract §15).

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Refusal, refuse};
use super::audit::Line;
use super::tables::{ClusterRow, Credential, State, TokenRow};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    registration_token: String,
    cluster_id: Option<String>,
    display_name: Option<String>,
    registration_id: Option<String>,
    public_key: Option<Value>,
    operator_version: Option<String>,
    connectivity_mode: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rotation {
    rotation_id: Option<String>,
    public_key: Option<Value>,
}

fn after(now: Timestamp, seconds: u64) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(seconds.min(i64::MAX as u64) as i64)).unwrap_or(Timestamp::MAX)
}

impl State {
    /// See [`super::Odoo::issue_token`].
    pub(super) fn issue_token(&mut self, cluster: Option<&str>, now: Timestamp) -> String {
        let token = format!("vwksp-reg-{}", &self.entropy.hex("registration")[..40]);
        let cluster = cluster.map_or_else(|| self.entropy.uuid("cluster"), str::to_string);
        let expires = after(now, self.dials.token_validity);
        let row = TokenRow { cluster: cluster.clone(), issued: now, expires, used: None, credential: None };
        self.tokens.insert(token.clone(), row);
        self.audit.push(Line::of_odoo(now, &cluster, "Registration token issued"));
        token
    }

    fn credential(&mut self, now: Timestamp) -> Credential {
        let token = format!("vwksp-agent-{}", self.entropy.hex("credential"));
        let expires = self.dials.credential_validity.map(|seconds| after(now, seconds));
        Credential { token, issued: now, expires, used: None }
    }

    fn handed_out(&self, cluster: Option<&str>, credential: &Credential) -> Answer {
        let mut body = json!({ "token": credential.token });
        if let Some(cluster) = cluster {
            body["clusterId"] = cluster.into();
        }
        if let Some(expires) = credential.expires {
            body["expiresAt"] = expires.to_string().into();
        }
        if let Some(keys) = &self.signing_keys {
            body["signingKeys"] = keys.clone();
        }
        Answer::Body(body)
    }

    pub(super) fn register(&mut self, bearer: &str, body: &Bytes, now: Timestamp) -> Result<Answer, Refusal> {
        let asked: Registration = serde_json::from_slice(body)
            .map_err(|error| refuse(400, "InvalidRegistration", format!("the body is no registration: {error}")))?;
        let unknown = || refuse(401, "RegistrationTokenInvalid", "this registration token is unknown or expired");
        if asked.registration_token != bearer {
            return Err(unknown());
        }
        let row = self.tokens.get(bearer).cloned().ok_or_else(unknown)?;
        if asked.cluster_id.as_ref().is_some_and(|id| *id != row.cluster) {
            return Err(refuse(409, "ClusterIdMismatch", "this registration token belongs to another cluster"));
        }
        if let Some((_, by)) = &row.used {
            let same = self.dials.honours_registration_id && by.is_some() && *by == asked.registration_id;
            let credential = self.clusters.get(&row.cluster).and_then(|cluster| cluster.credential.clone());
            return match credential {
                Some(credential) if same && Some(&credential.token) == row.credential.as_ref() => {
                    Ok(self.handed_out(Some(&row.cluster), &credential))
                }
                _ => Err(refuse(409, "RegistrationTokenUsed", "this registration token was used already")),
            };
        }
        if row.expires <= now {
            return Err(unknown());
        }
        let credential = self.credential(now);
        let cluster = self.clusters.entry(row.cluster.clone()).or_insert_with(|| ClusterRow::new(&row.cluster, now));
        cluster.display_name = asked.display_name.or(cluster.display_name.take());
        cluster.operator_version = asked.operator_version.or(cluster.operator_version.take());
        cluster.mode = asked.connectivity_mode.or(cluster.mode.take());
        cluster.public_key = asked.public_key.or(cluster.public_key.take());
        cluster.registered = now;
        cluster.registrations += 1;
        cluster.credential = Some(credential.clone());
        (cluster.previous, cluster.rotation, cluster.revoked, cluster.decommissioned) = (None, None, None, None);
        if let Some(token) = self.tokens.get_mut(bearer) {
            token.used = Some((now, asked.registration_id));
            token.credential = Some(credential.token.clone());
        }
        self.audit.push(Line::of_odoo(now, &row.cluster, "Cluster registered"));
        Ok(self.handed_out(Some(&row.cluster), &credential))
    }

    /// Whose bearer this is; notes that the cluster was heard of.
    pub(super) fn authenticate(&mut self, bearer: &str, now: Timestamp) -> Result<String, Refusal> {
        for cluster in self.clusters.values_mut() {
            let current = cluster.credential.as_mut().filter(|credential| credential.token == bearer);
            let previous =
                cluster.previous.as_mut().filter(|(_, until)| now < *until).map(|(credential, _)| credential);
            let fits = current.or(previous.filter(|credential| credential.token == bearer));
            let Some(credential) = fits.filter(|credential| credential.expires.is_none_or(|at| now < at)) else {
                continue;
            };
            credential.used = Some((credential.used.map_or(now, |(first, _)| first), now));
            cluster.last_seen = Some(now);
            return Ok(cluster.id.clone());
        }
        Err(refuse(self.dials.rejection, "CredentialRejected", "this credential is unknown, expired or revoked"))
    }

    pub(super) fn rotate(&mut self, id: &str, bearer: &str, body: &Bytes, now: Timestamp) -> Result<Answer, Refusal> {
        let asked: Rotation = serde_json::from_slice(body)
            .map_err(|error| refuse(400, "InvalidRotation", format!("the body is no rotation: {error}")))?;
        let grace = after(now, self.dials.grace);
        let honours = self.dials.honours_rotation_id;
        let unknown = || refuse(401, "CredentialRejected", "no such cluster");
        let cluster = self.clusters.get(id).ok_or_else(unknown)?;
        let (current, previous) = (cluster.credential.clone(), cluster.previous.clone());
        if honours
            && asked.rotation_id.is_some()
            && cluster.rotation == asked.rotation_id
            && let Some(current) = current
        {
            return Ok(self.handed_out(None, &current));
        }
        let by = [cluster.credential.clone(), previous.map(|(credential, _)| credential)];
        let by = by.into_iter().flatten().find(|credential| credential.token == bearer);
        let fresh = self.credential(now);
        let cluster = self.clusters.get_mut(id).ok_or_else(unknown)?;
        cluster.previous = by.map(|credential| (credential, grace));
        cluster.credential = Some(fresh.clone());
        cluster.rotation = asked.rotation_id;
        cluster.rotations += 1;
        cluster.public_key = asked.public_key.or(cluster.public_key.take());
        Ok(self.handed_out(None, &fresh))
    }

    pub(super) fn decommission(&mut self, id: &str, now: Timestamp) -> Result<Answer, Refusal> {
        if let Some(cluster) = self.clusters.get_mut(id) {
            (cluster.credential, cluster.previous, cluster.decommissioned) = (None, None, Some(now));
        }
        self.audit.push(Line::of_odoo(now, id, "Cluster decommissioned"));
        Ok(Answer::Done)
    }

    /// See [`super::Odoo::revoke`].
    pub(super) fn revoke(&mut self, id: &str, now: Timestamp) {
        if let Some(cluster) = self.clusters.get_mut(id) {
            (cluster.credential, cluster.previous, cluster.revoked) = (None, None, Some(now));
        }
        self.audit.push(Line::of_odoo(now, id, "Credentials revoked"));
    }
}

impl ClusterRow {
    fn new(id: &str, now: Timestamp) -> Self {
        Self {
            id: id.into(),
            display_name: None,
            operator_version: None,
            mode: None,
            public_key: None,
            registered: now,
            registrations: 0,
            credential: None,
            previous: None,
            rotation: None,
            rotations: 0,
            revoked: None,
            decommissioned: None,
            last_seen: None,
            last_heartbeat: None,
            heartbeats: 0,
            conditions: Vec::new(),
            events: Default::default(),
            view: Default::default(),
        }
    }
}
