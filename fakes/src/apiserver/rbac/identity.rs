//! Who asks: bearer tokens, ServiceAccount tokens, impersonation (K1, K5).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{attributes, policy, token};
use crate::apiserver::errors::{Outcome, Status};
use crate::apiserver::request::Request;
use crate::apiserver::server::{Authorization, Config, State};

/// Group of everyone with a valid token.
pub(super) const AUTHENTICATED: &str = "system:authenticated";
/// Group that may do everything.
pub(super) const MASTERS: &str = "system:masters";

/// A user as authorization and reviews see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name, such as `alice` or `system:serviceaccount:ns:name`.
    pub name: String,
    /// Uid; empty when the authenticator knows none.
    pub uid: String,
    /// Groups in order.
    pub groups: Vec<String>,
    /// Further attributes.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A static bearer token and the user it stands for.
#[derive(Clone, Debug)]
pub struct Token {
    /// The secret itself.
    pub token: String,
    /// Its user, without `system:authenticated`.
    pub user: User,
}

impl User {
    /// A user with groups.
    pub fn new(name: &str, uid: &str, groups: &[&str]) -> User {
        User {
            name: name.to_owned(),
            uid: uid.to_owned(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            ..User::default()
        }
    }

    /// The user of a request without credentials.
    pub(super) fn anonymous() -> User {
        User::new("system:anonymous", "", &["system:unauthenticated"])
    }

    /// The user of a ServiceAccount.
    pub(super) fn service_account(namespace: &str, name: &str, uid: &str) -> User {
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: groups.into(),
            ..User::default()
        }
    }

    pub(super) fn authenticated(mut self) -> User {
        if !self.groups.iter().any(|group| group == AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    /// May do everything, before any role is looked at.
    pub(super) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }

    /// `userInfo` as reviews show it.
    pub(crate) fn to_value(&self) -> Value {
        let mut info = json!({ "username": self.name });
        if !self.uid.is_empty() {
            info["uid"] = json!(self.uid);
        }
        if !self.groups.is_empty() {
            info["groups"] = json!(self.groups);
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }
}

/// The user of a token: static ones first, then ServiceAccount tokens.
pub(super) fn by_token(config: &Config, state: &State, secret: &str) -> Option<User> {
    let known = config.tokens.iter().find(|token| token.token == secret).map(|token| token.user.clone());
    known.or_else(|| token::verify(config, state, secret)).map(User::authenticated)
}

/// The user of a request, after impersonation.
///
/// # Errors
/// 401 for a bad token, 400 and 403 for impersonation.
pub(super) fn of(config: &Config, state: &State, request: &Request) -> Outcome<User> {
    let header = request.header("authorization");
    let secret = header.strip_prefix("Bearer ").or_else(|| header.strip_prefix("bearer ")).map(str::trim);
    let user = match secret {
        None => User::anonymous(),
        Some(secret) => match by_token(config, state, secret) {
            Some(user) => user,
            // Where nobody is refused anything, nobody needs to be known.
            None if config.authorization == Authorization::AlwaysAllow => User::anonymous(),
            None => return Err(Status::new(401, "Unauthorized", "Unauthorized")),
        },
    };
    impersonate(config, state, request, user)
}

fn impersonate(config: &Config, state: &State, request: &Request, user: User) -> Outcome<User> {
    let all = |name: &str| -> Vec<String> {
        request.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let (name, groups, uid) =
        (request.header("impersonate-user"), all("impersonate-group"), request.header("impersonate-uid"));
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for header in request.headers.keys() {
        if let Some(key) = header.as_str().strip_prefix("impersonate-extra-") {
            extra.insert(key.to_owned(), all(header.as_str()));
        }
    }
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(user);
        }
        let groups: Vec<String> = groups.iter().map(|group| format!("{group:?}")).collect();
        let extra = if extra.is_empty() { "(nil)".to_owned() } else { format!("{extra:?}") };
        return Err(Status::bad_request(format!(
            "requested &user.DefaultInfo{{Name:\"\", UID:{uid:?}, Groups:[]string{{{}}}, Extra:map[string][]string{extra}}} without impersonating a user name",
            groups.join(", ")
        )));
    }
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    if config.authorization == Authorization::Rbac
        && !may_impersonate(state, &user, name, account, &groups, uid, &extra)
    {
        let mode = if account.is_some() { "serviceaccount" } else { "user-info" };
        let mut wanted = attributes::of(request);
        let verb = format!("impersonate-on:{mode}:{}", wanted.verb);
        let allowed = policy::decide(state, &user, &attributes::Attributes { verb: verb.clone(), ..wanted.clone() });
        let constrained =
            allowed.allowed && policy::decide(state, &user, &attributes::impersonation(mode, name, account)).allowed;
        if !constrained {
            wanted.verb = verb;
            return Err(attributes::forbidden(&user, &wanted, ""));
        }
    }
    let mut other = match account {
        Some((namespace, name)) => User::service_account(namespace, name, uid),
        None => User::new(name, uid, &[]),
    };
    if !groups.is_empty() {
        other.groups = groups;
    }
    other.extra = extra;
    Ok(match name {
        "system:anonymous" => User { groups: vec!["system:unauthenticated".to_owned()], ..other },
        _ => other.authenticated(),
    })
}

/// The verb `impersonate` on everything that is asked for.
fn may_impersonate(
    state: &State,
    user: &User,
    name: &str,
    account: Option<(&str, &str)>,
    groups: &[String],
    uid: &str,
    extra: &BTreeMap<String, Vec<String>>,
) -> bool {
    let may = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let wanted = attributes::Attributes {
            verb: "impersonate".to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            path: None,
        };
        policy::decide(state, user, &wanted).allowed
    };
    let authentication = "authentication.k8s.io";
    let who = match account {
        Some((namespace, name)) => may("", "serviceaccounts", "", namespace, name),
        None => may("", "users", "", "", name),
    };
    who && groups.iter().all(|group| may("", "groups", "", "", group))
        && (uid.is_empty() || may(authentication, "uids", "", "", uid))
        && extra
            .iter()
            .all(|(key, values)| values.iter().all(|value| may(authentication, "userextras", key, "", value)))
}
