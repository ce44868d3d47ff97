//! Keys of experiment files that had other names in version 0.1: such files, and the experiments inside old checkpoints, are read
//! as if they had been written today.
//!
//! In one place rather than as aliases of the fields, because a run is resumed only by an experiment that says the same: both
//! texts are brought to the same words before they are compared.

use toml::{Table, Value};

/// Table (dotted; empty for the top), the key's name in version 0.1, and its name today.
const RENAMED: &[(&str, &str, &str)] = &[
    ("", "behaviour", "compat"),
    ("", "recompute", "activation_checkpointing"),
    ("clips", "mirrored", "hflip"),
    ("clips", "crop_share", "crop_scale"),
    ("losses", "hidden_words", "mlm_probability"),
    ("losses.weights", "contrastive", "egonce"),
    ("losses.weights", "words", "mlm"),
    ("losses.weights", "matching", "vtm"),
    ("train", "accumulate", "grad_accum_steps"),
    ("train", "clip", "max_grad_norm"),
    ("train", "select", "monitor"),
    ("train.optimizer", "heads_lr", "head_lr_mult"),
    ("backbone", "fused", "num_fused_layers"),
    ("backbone", "gate", "cross_attn_gate_init"),
    ("backbone", "projection", "projection_dim"),
    ("backbone.projector", "width", "dim"),
    ("backbone.video", "image", "image_size"),
    ("backbone.video", "patch", "patch_size"),
    ("backbone.video", "width", "embed_dim"),
    ("backbone.video", "heads", "num_heads"),
    ("backbone.video", "hidden", "mlp_dim"),
    ("backbone.video", "frames", "num_frames"),
    ("video", "image", "image_size"),
    ("video", "patch", "patch_size"),
    ("video", "width", "embed_dim"),
    ("video", "heads", "num_heads"),
    ("video", "hidden", "mlp_dim"),
    ("video", "frames", "num_frames"),
    ("backbone.text", "vocabulary", "vocab_size"),
    ("backbone.text", "positions", "max_position_embeddings"),
    ("backbone.text", "width", "embed_dim"),
    ("backbone.text", "layers", "depth"),
    ("backbone.text", "heads", "num_heads"),
    ("backbone.text", "hidden", "mlp_dim"),
    ("model", "width", "embed_dim"),
    ("model", "heads", "num_heads"),
    ("model", "positions", "max_position_embeddings"),
    ("model", "layers", "depth"),
    ("model", "feed_forward", "mlp_dim"),
    ("features", "fps", "rows_per_sec"),
    ("tokens", "fps", "rows_per_sec"),
    ("shots", "fps", "rows_per_sec"),
];

/// A key in the words of version 0.1, and the values of it that had other names: former, and of today.
const VALUES: &[(&str, &str, &str)] = &[
    ("behaviour", "compat", "as-released"),
    ("train.select", "words loss", "MLM loss"),
    ("train.select", "matching loss", "VTM loss"),
];

/// Gives `table` today's keys; whether it had others.
///
/// # Errors
/// A setting that is given under both of its names.
pub(super) fn modernise(table: &mut Table) -> Result<bool, String> {
    let mut is_old = false;
    for (path, old, new) in RENAMED {
        let Some(place) = find(table, path) else { continue };
        let Some(found) = place.remove(*old) else { continue };
        if place.insert((*new).to_owned(), value(&joined(path, old), &found)).is_some() {
            return Err(format!(
                "{} and {} are one setting, expected only the latter",
                joined(path, old),
                joined(path, new)
            ));
        }
        is_old = true;
    }
    Ok(is_old)
}

/// Today's name of a dotted key.
pub(super) fn key(dotted: &str) -> String {
    let of = |(path, old, new): &(&str, &str, &str)| (joined(path, old) == dotted).then(|| joined(path, new));
    RENAMED.iter().find_map(of).unwrap_or_else(|| dotted.to_owned())
}

/// Today's name of a value that stands under a dotted key in the words of its file.
pub(super) fn value(dotted: &str, found: &Value) -> Value {
    let is_it = |(key, old, _): &&(&str, &str, &str)| *key == dotted && found.as_str() == Some(old);
    VALUES.iter().find(is_it).map_or_else(|| found.clone(), |(_, _, new)| Value::from(*new))
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn find<'t>(table: &'t mut Table, path: &str) -> Option<&'t mut Table> {
    path.split('.').filter(|part| !part.is_empty()).try_fold(table, |table, part| table.get_mut(part)?.as_table_mut())
}

#[cfg(test)]
mod tests {
    use egofx::compat::Compat;

    use crate::experiment::Experiment;
    use crate::experiment::tests::TEXT;

    #[test]
    fn an_experiment_in_the_words_of_version_0_1_says_the_same_as_one_in_todays() {
        let old = TEXT
            .replace("compat = \"as-released\"", "behaviour = \"compat\"")
            .replace("monitor =", "select =")
            .replace("drop_last = false", "drop_last = false\nclip = 0.5\naccumulate = 2");
        let old = old
            .replace("eps = 1e-6", "eps = 1e-6\nheads_lr = 4.0")
            .replace("seeds = [1]", "seeds = [1]\nrecompute = true");
        let old =
            format!("{old}\n[clips]\nmirrored = true\n[losses]\nhidden_words = 0.15\n[losses.weights]\nwords = 1.0\n");
        let new = TEXT.replace("drop_last = false", "drop_last = false\nmax_grad_norm = 0.5\ngrad_accum_steps = 2");
        let new = new.replace("eps = 1e-6", "eps = 1e-6\nhead_lr_mult = 4.0");
        let new = new.replace("seeds = [1]", "seeds = [1]\nactivation_checkpointing = true");
        let new =
            format!("{new}\n[clips]\nhflip = true\n[losses]\nmlm_probability = 0.15\n[losses.weights]\nmlm = 1.0\n");
        let [old, new] = [old, new].map(|text| Experiment::parse(&text).unwrap());
        assert_eq!(old.compat, Compat::AsReleased);
        assert_eq!((old.train.max_grad_norm, old.train.grad_accum_steps), (Some(0.5), Some(2)));
        assert_eq!((&old, old.to_toml()), (&new, new.to_toml()));
    }

    #[test]
    fn sizes_of_a_backbone_in_the_words_of_version_0_1_are_todays() {
        let old = "fused = 2\nprojector = { kind = \"small\", width = 8 }\n[backbone.video]\nwidth = 4\nframes = 2\n";
        let new = "num_fused_layers = 2\nprojector = { kind = \"small\", dim = 8 }\n[backbone.video]\nembed_dim = 4\n\
                   num_frames = 2\n";
        let [old, new] = [old, new].map(|text| Experiment::parse(&format!("{TEXT}\n[backbone]\n{text}")).unwrap());
        assert_eq!((&old, old.to_toml()), (&new, new.to_toml()));
    }

    #[test]
    fn one_setting_under_two_names_is_refused() {
        let both = TEXT.replace("monitor =", "select = \"loss\"\nmonitor =");
        let why = Experiment::parse(&both).unwrap_err();
        assert_eq!(why, "train.select and train.monitor are one setting, expected only the latter");
    }

    #[test]
    fn values_of_a_grid_in_old_words_are_todays() {
        let old = TEXT.replace("seeds = [1]", "seeds = [1]\ngrid = { behaviour = [\"compat\", \"fixed\"] }");
        let members = Experiment::parse(&old).unwrap().members().unwrap();
        let folders: Vec<_> = members.iter().map(|member| member.folder.to_str().unwrap()).collect();
        assert_eq!(folders, ["behaviour-compat", "behaviour-fixed"]);
        assert_eq!(members.iter().map(|member| member.experiment.compat).collect::<Vec<_>>(), Compat::ALL);
    }

    #[test]
    fn a_grid_and_a_score_in_old_words_are_understood() {
        let old = TEXT.replace("monitor = \"loss\"", "select = \"words loss\"\nclip = 1.0");
        let old = old.replace("seeds = [1]", "seeds = [1]\ngrid = { \"train.clip\" = [0.5, 2.0] }");
        let experiment = Experiment::parse(&old).unwrap();
        assert_eq!(experiment.train.monitor, "MLM loss");
        let members = experiment.members().unwrap();
        assert_eq!(members[1].experiment.train.max_grad_norm, Some(2.0));
        // As version 0.1 called the folder, in which a run may have to go on.
        assert_eq!(members[1].folder.to_str(), Some("clip-2.0"));
    }
}
