//! Which word somebody meant.

use chaos_agent::settings::nearest;
use proptest::prelude::*;

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn the_answer_is_one_of_the_known_words(word in any::<String>(), known in proptest::collection::vec("[a-z_]{1,20}", 0..6)) {
        if let Some(found) = nearest(&word, known.iter().map(String::as_str)) {
            prop_assert!(known.iter().any(|known| known == found));
        }
    }

    #[test]
    fn a_word_and_what_one_slip_of_the_hand_makes_of_it_are_found(
        word in "[a-z]{3,20}", slip in 0..4, at in any::<prop::sample::Index>(), letter in "[a-z]",
    ) {
        let mut typed: Vec<char> = word.chars().collect();
        let (place, letter) = (at.index(typed.len()), letter.chars().next().unwrap());
        match slip {
            0 => _ = typed.remove(place),
            1 => typed.insert(place, letter),
            2 => typed[place] = letter,
            _ => typed.swap(place, (place + 1).min(word.len() - 1)),
        }
        let typed: String = typed.into_iter().collect();
        // Nothing of the other word is in this one.
        let known = ["0123456789", word.as_str()];
        prop_assert_eq!(nearest(&typed, known.into_iter()), Some(word.as_str()), "{}", typed);
        prop_assert_eq!(nearest(&word.to_uppercase(), known.into_iter()), Some(word.as_str()));
    }
}
