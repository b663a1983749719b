//! A set of event ids that may say "perhaps" wrongly, and never says "no" wrongly.
//!
//! Here, pure: a split-block Bloom filter. Whoever gets "perhaps" looks into the store, so a wrong
//! one costs time and nothing else. Not here: which ids are in it (see [`super::days`]).

use ledger::names::EventId;

/// Bits for each id: about one in a thousand ids that were never put in is a "perhaps".
const BITS: usize = 16;
/// Words of a block: an id sets one bit in each.
const WORDS: usize = 8;
/// Odd numbers that spread an id's hash over the words of its block.
const SALTS: [u32; WORDS] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// The filter. Its size is fixed when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    blocks: Box<[[u32; WORDS]]>,
}

impl Filter {
    /// An empty filter with room for `ids`. With more in it, more wrong answers are "perhaps".
    pub fn with_room_for(ids: usize) -> Self {
        let blocks = ids.saturating_mul(BITS).div_ceil(WORDS * 32).max(1);
        Self { blocks: vec![[0; WORDS]; blocks].into_boxed_slice() }
    }

    /// The memory that a filter for `ids` takes, in bytes.
    pub const fn bytes_for(ids: usize) -> usize {
        ids.saturating_mul(BITS).div_ceil(8)
    }

    /// The memory that this filter takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.blocks)
    }

    /// Puts an id in.
    pub fn insert(&mut self, id: &EventId) {
        let (block, masks) = self.place(id);
        if let Some(words) = self.blocks.get_mut(block) {
            for (word, mask) in words.iter_mut().zip(masks) {
                *word |= mask;
            }
        }
    }

    /// Whether the id may have been put in. `false` is certain.
    pub fn may_contain(&self, id: &EventId) -> bool {
        let (block, masks) = self.place(id);
        let words = self.blocks.get(block);
        words.is_none_or(|words| words.iter().zip(masks).all(|(word, mask)| word & mask != 0))
    }

    /// The block of an id, and its bit in each word.
    fn place(&self, id: &EventId) -> (usize, [u32; WORDS]) {
        let hash = mixed(id);
        let (high, low) = halves(hash);
        // A product of two numbers below 2^32, the second the number of blocks: the block is below it.
        let blocks = u64::try_from(self.blocks.len()).unwrap_or(u64::MAX);
        let block = usize::try_from(u64::from(high).saturating_mul(blocks) >> 32).unwrap_or(0);
        (block, SALTS.map(|salt| 1 << (low.wrapping_mul(salt) >> 27)))
    }
}

/// The ids of one machine may share most of their bits: every bit of the result depends on all.
fn mixed(id: &EventId) -> u64 {
    let [high, low] = {
        let value = u128::from_be_bytes(*id.as_bytes());
        [value >> 64, value & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0))
    };
    let mut hash = high ^ low.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn halves(hash: u64) -> (u32, u32) {
    let half = |value| u32::try_from(value).unwrap_or(0);
    (half(hash >> 32), half(hash & u64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[expect(clippy::unwrap_used, reason = "tests fail by panic")]
    fn id(value: u128) -> EventId {
        EventId::from_bytes(value.to_be_bytes()).unwrap()
    }

    /// Ids as machines make them: of the same millisecond, with a few random bits; and random ones.
    fn ids(seed: u128) -> impl Iterator<Item = EventId> {
        (1..=20_000_u128).map(move |n| {
            let time_first = (0x0190_0000_0000_7000_8000 << 48) | (seed << 20) | n;
            id(if n % 2 == 0 { time_first } else { n.wrapping_mul(seed | 1) | 1 << 127 })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_put_in_is_never_denied(values in prop::collection::vec(1..u128::MAX, 1..500)) {
            let mut filter = Filter::with_room_for(values.len());
            values.iter().for_each(|value| filter.insert(&id(*value)));
            prop_assert!(values.iter().all(|value| filter.may_contain(&id(*value))));
        }
    }

    #[test]
    fn few_others_are_taken_for_one_of_them() {
        let mut filter = Filter::with_room_for(20_000);
        ids(7).for_each(|id| filter.insert(&id));
        let wrong = ids(1_000_003).filter(|id| filter.may_contain(id)).count();
        assert!(wrong < 100, "{wrong} of 20,000");
    }

    #[test]
    fn it_takes_the_memory_that_it_says() {
        let filter = Filter::with_room_for(20_000);
        assert!(filter.bytes().abs_diff(Filter::bytes_for(20_000)) < 32);
        assert!(!Filter::with_room_for(0).may_contain(&id(1)));
    }
}
