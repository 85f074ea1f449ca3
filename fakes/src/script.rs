//! How a fake behaves next: succeed after a while, fail in one of several ways, hang, die.
//!
//! A [`Script`] is data: it is carried in a case, armed before or during a run, and consumed by the fakes at named
//! decision points. Nothing here acts. Switches are named as in downstream §15.3 and world-cases.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One named way in which a downstream controller misbehaves, or is misused by somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Switch {
    /// helm-controller dies after the conditions of a finished action were written and before history was: the next
    /// incarnation finds a release it does not know, clears the history and upgrades.
    H1,
    /// helm-controller dies in the middle of a Helm action: the release stays pending and is unlocked later.
    H2,
    /// A Helm action fails before a release is stored: no counter, no history, backoff without end, never Stalled.
    H3,
    /// A Helm action fails and leaves a failed release: counted, remediated or Stalled.
    H4,
    /// Upgrades fail, each is rolled back, and after the last retry the release is Stalled. Upgrades only.
    H5,
    /// The release to roll back to vanishes from storage while the upgrade fails: Stalled, MissingRollbackTarget.
    H6,
    /// Somebody upgrades the release by hand: history is cleared and an upgrade follows at the next pass.
    H7,
    /// The pass dies between action and conditions: Ready stays Unknown although the release is deployed and recorded,
    /// until something asks for a new pass.
    H8,
    /// The last conditions of a pass are written only after the spec has moved on: `Ready.observedGeneration` names a
    /// generation that nobody acted on.
    H9,
    /// Somebody sets `spec.suspend` by `flux suspend`; the observed generation still advances.
    H10,
    /// Deletion finds no way to act (the account is gone): the finalizer goes, the release stays behind.
    H11,
    /// Uninstalling fails; the finalizer stays and the controller retries.
    H12,
    /// Somebody edits the release name: uninstall of the old, install of the new.
    H13,
    /// A pass without any change: Reconciling appears and disappears.
    H14,
    /// The controller runs with the gate that makes retrying the default failure strategy.
    H15,
    /// The cluster differs from what was released: Drifted (where the release has it), corrected if asked for.
    H16,
    /// helm-controller is not there: nothing is written at all.
    H17,
    /// Install meets objects that belong to a release of the same name elsewhere: refused by releases below 2.5 or with
    /// `disableTakeOwnership`, adopted otherwise (W45).
    H18,
    /// source-controller restarts with an empty volume: artifacts disappear and are fetched anew.
    S1,
    /// A tag is pushed again with other content.
    S2,
    /// Fetching fails; an artifact fetched earlier stays in place.
    S3,
    /// The source is stalled until its spec changes.
    S4,
    /// A repository of type `oci` never has a status. Nothing needs arming; listed so that a case can name it.
    S5,
    /// Somebody suspends the source.
    S6,
}

impl Switch {
    /// Every Flux switch, in the order of downstream §15.3.
    pub const FLUX: [Self; 24] = [
        Self::H1,
        Self::H2,
        Self::H3,
        Self::H4,
        Self::H5,
        Self::H6,
        Self::H7,
        Self::H8,
        Self::H9,
        Self::H10,
        Self::H11,
        Self::H12,
        Self::H13,
        Self::H14,
        Self::H15,
        Self::H16,
        Self::H17,
        Self::H18,
        Self::S1,
        Self::S2,
        Self::S3,
        Self::S4,
        Self::S5,
        Self::S6,
    ];
}

/// An object by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// Kind, for example `HelmRelease`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Target {
    /// The object of this kind, namespace and name.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

/// One armed switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// What shall happen.
    pub switch: Switch,
    /// To which object; to any that meets the decision point if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// How often; until disarmed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// The error text where the switch has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The condition reason where the switch has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Order {
    /// `switch`, for ever and for any object.
    pub fn new(switch: Switch) -> Self {
        Self { switch, target: None, times: None, text: None, reason: None }
    }

    /// Only for this object.
    #[must_use]
    pub fn on(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// At most this often.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// With this error text.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.text = Some(text.into());
        self
    }

    /// With this condition reason.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        self.reason = Some(reason.into());
        self
    }

    fn meets(&self, switch: Switch, target: &Target) -> bool {
        self.switch == switch && self.target.as_ref().is_none_or(|wanted| wanted == target)
    }
}

/// What one step of a fake does. Waits are simulated time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Then {
    /// Succeed, after this many milliseconds instead of the usual time.
    Succeed {
        /// Milliseconds.
        after: u64,
    },
    /// Fail with this text.
    Fail {
        /// What the tool said.
        text: String,
        /// Whether a trace of the attempt was stored (Helm: a failed release).
        stored: bool,
    },
    /// Never answer: the timeout of the step ends it.
    Hang,
    /// The controller dies during the step.
    Restart,
}

/// Everything a fake has been told. The first order or step that fits is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Script {
    orders: Vec<Order>,
    steps: Vec<(Target, String, Then)>,
}

impl Script {
    /// Arms a switch.
    pub fn arm(&mut self, order: Order) {
        self.orders.push(order);
    }

    /// Disarms every order of this switch.
    pub fn disarm(&mut self, switch: Switch) {
        self.orders.retain(|order| order.switch != switch);
    }

    /// Forgets everything: what `heal` does.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Says how the next `step` of `target` goes; each entry serves once, in order.
    pub fn then(&mut self, target: Target, step: &str, then: Then) {
        self.steps.push((target, step.into(), then));
    }

    /// Whether an order is armed, without consuming it.
    pub fn armed(&self, switch: Switch, target: &Target) -> Option<&Order> {
        self.orders.iter().find(|order| order.meets(switch, target))
    }

    /// Consumes one use of an armed order.
    pub fn take(&mut self, switch: Switch, target: &Target) -> Option<Order> {
        let index = self.orders.iter().position(|order| order.meets(switch, target))?;
        let taken = self.orders.get(index).cloned()?;
        match taken.times {
            Some(0 | 1) => {
                self.orders.remove(index);
            }
            Some(times) => {
                if let Some(order) = self.orders.get_mut(index) {
                    order.times = Some(times - 1);
                }
            }
            None => {}
        }
        Some(taken)
    }

    /// Orders of this switch that name their object, consumed one use each: for hands from outside, which need to know
    /// whom to touch.
    pub(crate) fn take_addressed(&mut self, switch: Switch) -> Vec<(Target, Order)> {
        let targets: Vec<Target> = self
            .orders
            .iter()
            .filter(|order| order.switch == switch)
            .filter_map(|order| order.target.clone())
            .collect();
        targets.into_iter().filter_map(|target| self.take(switch, &target).map(|order| (target, order))).collect()
    }

    /// Consumes what was said about the next `step` of `target`.
    pub fn next(&mut self, target: &Target, step: &str) -> Option<Then> {
        let index = self.steps.iter().position(|(of, at, _)| of == target && at == step)?;
        Some(self.steps.remove(index).2)
    }
}

/// Milliseconds as a duration.
pub(crate) fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Target {
        Target::new("HelmRelease", "team", "shop")
    }

    #[test]
    fn an_order_is_taken_as_often_as_it_says_and_only_for_its_object() {
        let mut script = Script::default();
        script.arm(Order::new(Switch::H4).on(release()).times(2));
        assert!(script.take(Switch::H4, &Target::new("HelmRelease", "team", "other")).is_none());
        assert!(script.take(Switch::H3, &release()).is_none());
        assert!(script.take(Switch::H4, &release()).is_some());
        assert!(script.take(Switch::H4, &release()).is_some());
        assert!(script.take(Switch::H4, &release()).is_none());
    }

    #[test]
    fn an_order_without_number_stays_until_disarmed() {
        let mut script = Script::default();
        script.arm(Order::new(Switch::H17));
        assert!(script.take(Switch::H17, &release()).is_some());
        assert!(script.take(Switch::H17, &release()).is_some());
        script.disarm(Switch::H17);
        assert!(script.take(Switch::H17, &release()).is_none());
    }

    #[test]
    fn every_switch_has_its_name_on_the_wire() {
        for switch in Switch::FLUX {
            let text = serde_json::to_string(&switch).expect("a unit variant serialises");
            assert_eq!(text, format!("\"{switch:?}\""));
        }
        let order: Order = serde_json::from_str(r#"{"switch":"H12","times":2}"#).expect("an order parses");
        assert_eq!(order, Order::new(Switch::H12).times(2));
    }
}
