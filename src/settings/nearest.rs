//! Which known word somebody meant.

/// Words longer than this are nobody's typing error.
const LONGEST: usize = 40;

/// The candidate nearest to `word`, if it is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let distances = candidates.map(|known| (distance(word.as_bytes(), known.as_bytes()), known));
    let (steps, best) = distances.min_by_key(|(steps, _)| *steps)?;
    (steps <= 1 + best.len().min(word.len()) / 4).then_some(best)
}

/// Insertions, deletions, replacements and swaps of neighbours that make `b` of `a` (optimal string
/// alignment, three rows of the usual table). `-` counts as `_`.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let fold = |byte: u8| if byte == b'-' { b'_' } else { byte };
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(fold(x) != fold(y));
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_word_and_another_word_does_not() {
        let known = ["interval_seconds", "dry_run", "seed", "max_concurrent"];
        let meant = |word| nearest(word, known.iter().copied());
        assert_eq!(meant("interval_second"), Some("interval_seconds"));
        assert_eq!(meant("dry-run"), Some("dry_run"));
        assert_eq!(meant("DryRun"), Some("dry_run"));
        assert_eq!(meant("sede"), Some("seed"));
        assert_eq!(meant("colour"), None);
        assert_eq!(meant(&"x".repeat(100_000)), None);
        assert_eq!(nearest("x", std::iter::empty()), None);
    }

    #[test]
    fn distances_are_those_of_the_text_books() {
        for (a, b, steps) in [("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 1), ("same", "same", 0)]
        {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), steps, "{a} {b}");
        }
    }
}
