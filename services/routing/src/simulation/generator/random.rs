//! The Mersenne twister and the distributions as Python's `random` draws them: the reference generator's days can be
//! made again. Not for secrets.

use super::Named;

const WORDS: usize = 624;
const MIDDLE: usize = 397;

pub(super) struct Random {
    words: [u32; WORDS],
    used: usize,
    /// Normal draws come in pairs.
    second: Option<f64>,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut key = vec![seed as u32];
        if seed >> 32 != 0 {
            key.push((seed >> 32) as u32);
        }
        let mut random = Self {
            words: [0; WORDS],
            used: WORDS,
            second: None,
        };
        random.mix(19_650_218, &key);
        random
    }

    /// `init_by_array` of the original.
    fn mix(&mut self, start: u32, key: &[u32]) {
        let words = &mut self.words;
        words[0] = start;
        for i in 1..WORDS {
            let last = words[i - 1];
            words[i] = 1_812_433_253_u32
                .wrapping_mul(last ^ (last >> 30))
                .wrapping_add(i as u32);
        }
        let (mut i, mut j) = (1, 0);
        for _ in 0..WORDS.max(key.len()) {
            let last = words[i - 1];
            words[i] = (words[i] ^ (last ^ (last >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            (i, j) = (i + 1, (j + 1) % key.len());
            if i == WORDS {
                words[0] = words[WORDS - 1];
                i = 1;
            }
        }
        for _ in 1..WORDS {
            let last = words[i - 1];
            words[i] = (words[i] ^ (last ^ (last >> 30)).wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            i += 1;
            if i == WORDS {
                words[0] = words[WORDS - 1];
                i = 1;
            }
        }
        words[0] = 0x8000_0000;
    }

    fn word(&mut self) -> u32 {
        if self.used == WORDS {
            for i in 0..WORDS {
                let y = (self.words[i] & 0x8000_0000) | (self.words[(i + 1) % WORDS] & 0x7fff_ffff);
                let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[i] = self.words[(i + MIDDLE) % WORDS] ^ (y >> 1) ^ twist;
            }
            self.used = 0;
        }
        let mut y = self.words[self.used];
        self.used += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// From zero, below one.
    pub(super) fn next(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) * (1.0 / 9_007_199_254_740_992.0)
    }

    /// A whole number below `limit`, which is not zero.
    pub(super) fn below(&mut self, limit: u32) -> u32 {
        let unused = limit.leading_zeros();
        loop {
            let draw = self.word() >> unused;
            if draw < limit {
                return draw;
            }
        }
    }

    pub(super) fn below_usize(&mut self, limit: usize) -> usize {
        self.below(u32::try_from(limit).unwrap_or(u32::MAX)) as usize
    }

    pub(super) fn uniform(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.next()
    }

    pub(super) fn exponential(&mut self, rate: f64) -> f64 {
        -(1.0 - self.next()).ln() / rate
    }

    pub(super) fn gauss(&mut self, mean: f64, sigma: f64) -> f64 {
        let z = self.second.take().unwrap_or_else(|| {
            let angle = self.next() * std::f64::consts::TAU;
            let radius = (-2.0 * (1.0 - self.next()).ln()).sqrt();
            self.second = Some(angle.sin() * radius);
            angle.cos() * radius
        });
        mean + z * sigma
    }

    pub(super) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        median * self.gauss(0.0, sigma).exp()
    }

    /// A place in a list of shares, which is not empty.
    pub(super) fn choose(&mut self, shares: &[f64]) -> usize {
        let mut sum = 0.0;
        let sums: Vec<f64> = shares
            .iter()
            .map(|share| {
                sum += share;
                sum
            })
            .collect();
        let draw = self.next() * sum;
        sums[..sums.len() - 1].partition_point(|sum| *sum <= draw)
    }

    /// A name by its share.
    pub(super) fn name<'a>(&mut self, shares: &'a Named<f64>) -> &'a str {
        let only_shares: Vec<f64> = shares.0.iter().map(|(_, share)| *share).collect();
        &shares.0[self.choose(&only_shares)].0
    }
}
