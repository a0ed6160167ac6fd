//! Golden vectors. A difference here means that existing clusters would shuffle their shards on
//! the next rebalance: change the code back, not the vector.

use miroir_core::id::{GroupId, NodeId, ShardId};
use miroir_core::placement::{Candidate, Scope, Score, propose, rebalance};

use crate::support::{SCOPE, alike, weighted, zoned};

#[test]
fn scores_do_not_drift() {
    let cases: [(&str, u32, u16, u64, u64); 6] = [
        ("movies", 1, 0, 1, 0x1dc1_1602_5adc_7070),
        ("movies", 1, 0, 2, 0xb352_b6ad_8f5e_7501),
        ("movies", 1, 1, 1, 0x3210_3c67_d3b5_0287),
        ("movies", 2, 0, 1, 0xcba7_635c_fe61_b761),
        ("books", 1, 0, 1, 0xd4b4_a281_c6b1_e527),
        (
            "a-much-longer-index-uid-than-the-short-hash-path-takes",
            7,
            65_535,
            u64::MAX,
            0x4b16_bd33_8d90_3348,
        ),
    ];
    for (index, group, shard, node, hash) in cases {
        let scope = Scope {
            index,
            group: GroupId(group),
        };
        let score = Score::new(&scope, ShardId(shard), NodeId(node));
        assert_eq!(
            score.hash, hash,
            "{index} {group} {shard} {node}: {:#018x}",
            score.hash
        );
    }
}

#[test]
fn scores_order_by_hash_and_then_by_node() {
    let score = |hash, node| Score {
        hash,
        node: NodeId(node),
    };
    assert!(score(2, 1) > score(1, 9));
    assert!(score(1, 9) > score(1, 1));
}

fn compact(placement: &[Vec<NodeId>]) -> String {
    let shard = |nodes: &Vec<NodeId>| nodes.iter().map(NodeId::to_string).collect::<String>();
    placement.iter().map(shard).collect::<Vec<_>>().join(" ")
}

#[test]
fn placements_do_not_drift() {
    let mixed = [zoned(1, "a"), zoned(2, "a"), zoned(3, "b"), weighted(4, 3)];
    let cases: [(u8, &[Candidate], &str); 3] = [
        (1, &alike(3), "2 3 3 2 2 3 3 2 1 1 2 2 1 1 1 3"),
        (
            2,
            &alike(4),
            "24 34 32 23 41 43 31 23 31 21 24 42 12 14 41 31",
        ),
        (2, &mixed, "24 34 34 24 42 43 34 24 14 14 24 42 14 14 41 34"),
    ];
    for (rf, candidates, expected) in cases {
        let placement = propose(&SCOPE, 16, rf, candidates).expect("sound input");
        assert_eq!(compact(&placement), expected);
    }
}

#[test]
fn moves_do_not_drift() {
    let current = propose(&SCOPE, 16, 1, &alike(3)).expect("sound input");
    let moves = rebalance(&SCOPE, 1, &current, &alike(4)).expect("sound input");
    let text: Vec<String> = moves
        .iter()
        .map(|m| format!("{}:{}>{}", m.shard, m.from, m.to))
        .collect();
    assert_eq!(text.join(" "), "4:2>4 5:3>4 11:2>4 14:1>4");
}
