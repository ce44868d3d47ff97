//! Whether frames come out of a decoder as the timeline says: which of them are proved to be the frame of their index.
//!
//! A timestamp alone proves nothing: one wrong byte in a container's tables gives a frame the time of another, and a
//! decoder that leaves a frame out says nothing of it. But images carry an order of their own, in which the decoder
//! gives them. So the n-th frame after one that is known has to be the n-th by its timestamp too. Not for complaints of
//! decoders. Invariant: after a frame that was left out nothing is proved before the next key frame is followed by its
//! successor; after one that came at another place than its timestamp says, nothing before count and timestamps agree.

/// Frames in the order in which they come, against their indices.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// The index that the next frame is to have, by count; `None` before the first one.
    due: Option<u64>,
    doubt: Doubt,
}

/// Why the next frame may be another than its timestamp says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Doubt {
    #[default]
    None,
    /// Frames were left out before the frame `last`. If that was a key frame, its successor ends the doubt.
    LeftOut { last: u64, was_key: bool },
    /// A frame came at another place than its timestamp says.
    Stray,
}

/// What is known of a frame that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the frame of its index.
    Proved,
    /// It may be another.
    Doubtful {
        /// The index that was due, if doubt begins with this frame.
        due: Option<u64>,
    },
}

impl Order {
    /// Judges the next frame. By its timestamp it is the one of `index`, or none of the timeline.
    pub fn judge(&mut self, index: Option<u64>, is_key: bool) -> Standing {
        // Before the first frame a decoder may leave out what it has no start for.
        let Some(due) = self.due.or(index) else { return Standing::Doubtful { due: None } };
        let doubted = self.doubt;
        self.doubt = next_doubt(doubted, due, index, is_key);
        self.due = Some(match (self.doubt, index) {
            (Doubt::None, Some(index)) => index + 1,
            _ => due + 1,
        });
        match self.doubt {
            Doubt::None => Standing::Proved,
            _ => Standing::Doubtful { due: (doubted == Doubt::None).then_some(due) },
        }
    }
}

/// What is to be doubted once a frame has come where the frame `due` was to come.
fn next_doubt(doubt: Doubt, due: u64, index: Option<u64>, is_key: bool) -> Doubt {
    let Some(index) = index else { return Doubt::Stray };
    match doubt {
        Doubt::None | Doubt::Stray if index == due => Doubt::None,
        Doubt::None if index > due => Doubt::LeftOut { last: index, was_key: is_key },
        Doubt::LeftOut { last, was_key: true } if index == last + 1 => Doubt::None,
        Doubt::LeftOut { last, .. } if index > last => Doubt::LeftOut { last: index, was_key: is_key },
        _ => Doubt::Stray,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames of `indices` that are proved; every tenth is a key frame.
    fn proved(indices: &[u64]) -> Vec<u64> {
        let mut order = Order::default();
        let is_proved = |&&index: &&u64| order.judge(Some(index), index % 10 == 0) == Standing::Proved;
        indices.iter().filter(is_proved).copied().collect()
    }

    #[test]
    fn frames_in_a_row_are_proved_wherever_they_begin() {
        assert_eq!(proved(&[0, 1, 2, 3]), [0, 1, 2, 3]);
        assert_eq!(proved(&[17, 18, 19]), [17, 18, 19]);
    }

    #[test]
    fn after_a_frame_that_was_left_out_nothing_counts_before_a_key_frame() {
        assert_eq!(proved(&[7, 8, 12, 13, 19, 20, 21, 22]), [7, 8, 21, 22]);
        assert_eq!(proved(&[7, 8, 20, 21, 22]), [7, 8, 21, 22], "a key frame may be one with a wrong time");
        assert_eq!(proved(&[7, 9, 20, 22, 23, 30, 31]), [7, 31]);
    }

    #[test]
    fn a_frame_with_the_time_of_another_is_not_proved() {
        // The sixth frame is told to be the last but one: those between have the index before their own.
        assert_eq!(proved(&[0, 1, 2, 3, 4, 12, 5, 6, 7, 8, 9, 10, 11, 13, 14]), [0, 1, 2, 3, 4, 13, 14]);
        assert_eq!(proved(&[0, 1, 10, 2, 3]), [0, 1], "a key frame too");
        // Two frames of one time are one on the timeline.
        assert_eq!(proved(&[0, 1, 2, 2, 3, 4]), [0, 1, 2]);
    }

    #[test]
    fn a_time_that_no_frame_has_is_doubted_and_counted() {
        let mut order = Order::default();
        assert_eq!(order.judge(Some(4), true), Standing::Proved);
        assert_eq!(order.judge(None, false), Standing::Doubtful { due: Some(5) });
        assert_eq!(order.judge(Some(5), false), Standing::Doubtful { due: None });
        assert_eq!(order.judge(Some(7), false), Standing::Proved, "count and timestamp agree");
    }
}
