//! Who asks, what they may do, and the reviews that tell (K1-K5).
//!
//! A request is authenticated, then authorized before anything is looked up, then handled. Roles and bindings are read from the
//! store on every question: a change acts at once, where a real server needs its informers to see it. Not modelled: certificates,
//! OpenID, webhooks, node authorization, `OwnerReferencesPermissionEnforcement` (off by default upstream).

mod attributes;
mod bootstrap;
mod escalation;
mod identity;
mod policy;
mod reviews;
mod token;

use serde_json::Value;

use super::errors::{Outcome, Status};
use super::reply::Reply;
use super::request::{Request, Target};
use super::server::{Authorization, Config, Pass, State};

pub(crate) use bootstrap::install;
pub use identity::{Token, User};

/// The token of the administrator, which in-process clients use.
pub(crate) const ADMIN_TOKEN: &str = "admintoken";

/// The users that a server knows unless told otherwise: an administrator, and somebody without rights.
pub(crate) fn default_tokens() -> Vec<Token> {
    vec![
        Token { token: ADMIN_TOKEN.to_owned(), user: User::new("admin", "admin-uid", &[identity::MASTERS]) },
        Token { token: "alicetoken".to_owned(), user: User::new("alice", "alice-uid", &["team"]) },
    ]
}

/// The user of a request.
///
/// # Errors
/// 401; 400 and 403 about impersonation.
pub(crate) fn authenticate(config: &Config, state: &State, request: &Request) -> Outcome<User> {
    identity::of(config, state, request)
}

/// Whether the user may make this request.
///
/// # Errors
/// 403.
pub(crate) fn authorize(pass: &Pass<'_>) -> Outcome<()> {
    if pass.server.config().authorization == Authorization::AlwaysAllow {
        return Ok(());
    }
    let wanted = attributes::of(pass.request);
    let decision = policy::decide(pass.state, &pass.user, &wanted);
    if decision.allowed { Ok(()) } else { Err(attributes::forbidden(&pass.user, &wanted, &decision.reason)) }
}

/// Reviews and tokens, which are answered without being stored; `None` for everything else.
pub(crate) fn answer(pass: &mut Pass<'_>, target: &Target) -> Option<Outcome<Reply>> {
    let post = pass.request.method == http::Method::POST;
    match target.subresource.as_deref() {
        Some("token") if post && target.resource.plural == "serviceaccounts" => Some(token::request(pass, target)),
        Some("token") if target.resource.plural == "serviceaccounts" => Some(Err(Status::method_not_allowed())),
        None if target.resource.verbs == ["create"] && target.name.is_none() && post => reviews::answer(pass, target),
        _ => None,
    }
}

/// A user may not grant what they do not have. `old` is the stored object of an update.
///
/// # Errors
/// 403, and 404 for a binding to a missing role.
pub(crate) fn check_grant(pass: &Pass<'_>, target: &Target, new: &Value, old: Option<&Value>) -> Outcome<()> {
    let grants = target.resource.group == "rbac.authorization.k8s.io";
    if !grants || pass.server.config().authorization == Authorization::AlwaysAllow || pass.user.is_master() {
        return Ok(());
    }
    escalation::check(pass.state, &pass.user, target, new, old)
}
