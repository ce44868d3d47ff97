//! The names and shapes that OpenTAD's ActionFormer has in its checkpoints.
//!
//! Not for what OpenTAD does otherwise, which is a [`Variant`](super::Variant). Names of the authors' code, which are the network's,
//! stay as they are: none begins as those of OpenTAD do.

use super::is_of_norm;

/// A running count that only training uses; ours lies beside the weights.
const LEFT_OUT: &str = "rpn_head.loss_normalizer";
/// Where the layers of a tower lie, and where the network has their convolutions and their norms.
const TOWERS: [[&str; 3]; 3] = [
    ["projection.embed.", "backbone.embd", "backbone.embd_norm"],
    ["rpn_head.cls_convs.", "cls_head.head", "cls_head.norm"],
    ["rpn_head.reg_convs.", "reg_head.head", "reg_head.norm"],
];
/// How other names begin there and in the network.
const PREFIXES: [[&str; 2]; 5] = [
    ["projection.stem.", "backbone.stem."],
    ["projection.branch.", "backbone.branch."],
    ["rpn_head.cls_head.", "cls_head.cls_head.conv."],
    ["rpn_head.reg_head.", "reg_head.offset_head.conv."],
    ["rpn_head.scale.", "reg_head.scale."],
];

/// The name and the shape that a tensor of a checkpoint has in the network; `None` for what is left out. Unknown names stay.
pub fn in_network(name: &str, shape: &[usize]) -> Option<(String, Vec<usize>)> {
    if name == LEFT_OUT {
        return None;
    }
    let layer = TOWERS.iter().find_map(|[theirs, convs, norms]| of_tower(name.strip_prefix(theirs)?, convs, norms));
    let other = || PREFIXES.iter().find_map(|[theirs, ours]| Some(format!("{ours}{}", name.strip_prefix(theirs)?)));
    let inside = layer.or_else(other).unwrap_or_else(|| name.to_owned());
    let shape = match shape {
        // Norms have `[C]` there.
        [channels] if is_of_norm(&inside) => vec![1, *channels, 1],
        _ => shape.to_vec(),
    };
    Some((inside, shape))
}

/// `0.conv.weight` and `0.norm.weight` of a tower.
fn of_tower(name: &str, convs: &str, norms: &str) -> Option<String> {
    let (index, part) = name.split_once('.')?;
    match part.split_once('.')? {
        ("conv", _) => Some(format!("{convs}.{index}.{part}")),
        ("norm", parameter) => Some(format!("{norms}.{index}.{parameter}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_authors_code_stay() {
        for (name, shape) in [
            ("backbone.embd_norm.0.weight", vec![1, 32, 1]),
            ("backbone.branch.1.attn.query.bias", vec![32]),
            ("cls_head.cls_head.conv.bias", vec![5]),
            ("neck.fpn_norms.0.bias", vec![1, 32, 1]),
            ("reg_head.scale.2.scale", vec![]),
            ("projection.embed.0.bn.weight", vec![32]),
        ] {
            assert_eq!(in_network(name, &shape), Some((name.to_owned(), shape)));
        }
    }
}
