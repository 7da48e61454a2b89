//! Sets of small numbers, one bit each.

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BitSet {
    words: Vec<u64>,
}

impl BitSet {
    pub(super) fn insert(&mut self, n: usize) {
        let word = n / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (n % 64);
    }

    pub(super) fn remove(&mut self, n: usize) {
        if let Some(word) = self.words.get_mut(n / 64) {
            *word &= !(1 << (n % 64));
        }
    }

    pub(super) fn contains(&self, n: usize) -> bool {
        self.words
            .get(n / 64)
            .is_some_and(|word| word & (1 << (n % 64)) != 0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.words
            .iter()
            .enumerate()
            .flat_map(|(n, word)| bits_of(*word, n * 64))
    }

    /// From there on to the end.
    pub(super) fn iter_from(&self, from: usize) -> impl Iterator<Item = usize> {
        let first = from / 64;
        self.words
            .iter()
            .enumerate()
            .skip(first)
            .flat_map(move |(n, word)| {
                let wanted = if n == first {
                    u64::MAX << (from % 64)
                } else {
                    u64::MAX
                };
                bits_of(*word & wanted, n * 64)
            })
    }

    /// What is in both and not in the third is added to the list, in order.
    pub(super) fn both_without(&self, other: &BitSet, without: &BitSet, list: &mut Vec<usize>) {
        for (n, (a, b)) in self.words.iter().zip(&other.words).enumerate() {
            let mut word = a & b & !without.words.get(n).copied().unwrap_or(0);
            while word != 0 {
                list.push(n * 64 + word.trailing_zeros() as usize);
                word &= word - 1;
            }
        }
    }

    /// What is in both, in order.
    pub(super) fn both<'a>(&'a self, other: &'a BitSet) -> impl Iterator<Item = usize> + 'a {
        self.words
            .iter()
            .zip(&other.words)
            .enumerate()
            .flat_map(|(n, (a, b))| bits_of(a & b, n * 64))
    }

    pub(super) fn meets(&self, other: &BitSet) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }
}

fn bits_of(mut word: u64, base: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let bit = word.trailing_zeros() as usize;
        word &= word - 1;
        Some(base + bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_both_is_found_in_order() {
        let (mut a, mut b) = (BitSet::default(), BitSet::default());
        for n in [1, 63, 64, 200] {
            a.insert(n);
        }
        for n in [63, 64, 65, 200, 900] {
            b.insert(n);
        }
        b.remove(64);
        assert_eq!(a.both(&b).collect::<Vec<_>>(), [63, 200]);
        let mut list = vec![7];
        let without = BitSet { words: vec![1 << 63] };
        a.both_without(&b, &without, &mut list);
        assert_eq!(list, [7, 200]);
        assert!(a.meets(&b) && !a.contains(65));
        assert_eq!(b.iter().count(), 4);
        assert_eq!(b.iter_from(65).collect::<Vec<_>>(), [65, 200, 900]);
    }
}
