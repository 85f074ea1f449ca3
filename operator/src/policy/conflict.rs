//! Which Operations exclude each other on one target, and who is next (contract §11.1, §11.3).

use serde::Serialize;

use crate::api::operation::OperationType;

/// One that works on a target, or wants to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Party {
    /// `metadata.creationTimestamp` as written; these sort as text.
    pub created: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// What it does.
    pub type_: OperationType,
    /// Its template is marked exclusive.
    pub exclusive: bool,
    /// Uid of the Operation that made it.
    pub parent: Option<String>,
}

/// Whether real work of the two may not overlap on one target. Symmetric.
pub fn conflict(one: &Party, other: &Party) -> bool {
    let related = |child: &Party, parent: &Party| child.parent.as_deref() == Some(parent.uid.as_str());
    if one.uid == other.uid || related(one, other) || related(other, one) {
        return false;
    }
    one.exclusive || other.exclusive || types_conflict(one.type_, other.type_)
}

fn types_conflict(one: OperationType, other: OperationType) -> bool {
    use OperationType::{Backup, Migration, Restore, Upgrade};
    let changes = |type_| matches!(type_, Upgrade | Restore | Migration);
    (changes(one) && changes(other)) || matches!((one, other), (Restore, Backup) | (Backup, Restore))
}

/// The first that keeps `wanting` from starting: a holder it conflicts with, else an earlier candidate it conflicts with;
/// `None` if it may take the lock.
pub fn obstacle<'a>(wanting: &Party, holders: &'a [Party], candidates: &'a [Party]) -> Option<&'a Party> {
    let earlier = |other: &&Party| (&other.created, &other.name) < (&wanting.created, &wanting.name);
    holders
        .iter()
        .find(|holder| conflict(wanting, holder))
        .or_else(|| candidates.iter().filter(earlier).filter(|other| conflict(wanting, other)).min())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPES: [OperationType; 6] = [
        OperationType::Upgrade,
        OperationType::Restore,
        OperationType::Migration,
        OperationType::Backup,
        OperationType::RunCommand,
        OperationType::Runbook,
    ];

    fn party(name: &str, type_: OperationType) -> Party {
        Party {
            created: "2026-01-01T00:00:00Z".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            type_,
            exclusive: false,
            parent: None,
        }
    }

    #[test]
    fn the_matrix_is_the_contracts() {
        let rows: Vec<String> = TYPES
            .iter()
            .map(|one| {
                let cell =
                    |other: &OperationType| if conflict(&party("a", *one), &party("b", *other)) { 'x' } else { '-' };
                TYPES.iter().map(cell).collect()
            })
            .collect();
        assert_eq!(rows, ["xxx---", "xxxx--", "xxx---", "-x----", "------", "------"]);
    }

    #[test]
    fn exclusive_conflicts_with_all_but_relatives_and_itself() {
        let mut one = party("a", OperationType::Runbook);
        one.exclusive = true;
        for type_ in TYPES {
            assert!(conflict(&one, &party("b", type_)) && conflict(&party("b", type_), &one));
        }
        let mut child = party("c", OperationType::Restore);
        child.parent = Some(one.uid.clone());
        assert!(!conflict(&one, &child) && !conflict(&child, &one) && !conflict(&one, &one.clone()));
    }

    /// F16: two Upgrades and a Backup during a running Restore.
    #[test]
    fn first_come_first_served_among_those_that_conflict() {
        let restore = party("r", OperationType::Restore);
        let (first, second) = (party("u1", OperationType::Upgrade), party("u2", OperationType::Upgrade));
        let backup = party("b", OperationType::Backup);
        let waiting = [first.clone(), second.clone(), backup.clone()];
        for one in &waiting {
            assert_eq!(obstacle(one, std::slice::from_ref(&restore), &waiting), Some(&restore));
        }
        assert_eq!(obstacle(&first, &[], &waiting), None);
        assert_eq!(obstacle(&backup, &[], &waiting), None);
        assert_eq!(obstacle(&second, &[], &waiting), Some(&first));
        assert_eq!(obstacle(&second, std::slice::from_ref(&first), &waiting), Some(&first));
        assert_eq!(obstacle(&backup, std::slice::from_ref(&first), &waiting), None);
    }

    fn parties() -> impl Strategy<Value = Vec<Party>> {
        let one = (0..3_u8, 0..6_usize, any::<bool>(), proptest::option::of(0..6_usize));
        proptest::collection::vec(one, 1..7).prop_map(|list| {
            list.into_iter()
                .enumerate()
                .map(|(index, (created, type_, exclusive, parent))| Party {
                    created: format!("2026-01-01T00:00:0{created}Z"),
                    exclusive,
                    parent: parent.map(|parent| format!("uid-o{parent}")),
                    ..party(&format!("o{index}"), TYPES[type_])
                })
                .collect()
        })
    }

    proptest! {
        /// No wait cycle: on a free target somebody can always start, and two that conflict never start from one list.
        #[test]
        fn of_candidates_on_a_free_target_one_may_start(candidates in parties()) {
            let free: Vec<&Party> = candidates.iter().filter(|one| obstacle(one, &[], &candidates).is_none()).collect();
            prop_assert!(!free.is_empty());
            for (index, one) in free.iter().enumerate() {
                for other in &free[index + 1..] {
                    prop_assert!(!conflict(one, other), "{} and {} both start", one.name, other.name);
                }
            }
        }
    }
}
