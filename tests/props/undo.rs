//! The guard's language.

use chaos_agent::revert::undo::Undo;
use proptest::prelude::*;

fn undo() -> impl Strategy<Value = Undo> {
    prop_oneof![
        any::<(i32, u32)>().prop_map(|(ifindex, handle)| Undo::RemoveRoot { ifindex, handle }),
        any::<i32>().prop_map(|ifindex| Undo::RemoveIngress { ifindex }),
        any::<i32>().prop_map(|of| Undo::RemoveIfb { of }),
        any::<(u32, u64)>().prop_map(|(pid, start)| Undo::Resume { pid, start }),
    ]
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn a_record_reads_back_as_itself_on_one_short_line(undo in undo()) {
        let line = undo.to_string();
        prop_assert!(line.len() < 64 && !line.contains('\n'), "{line:?}");
        prop_assert_eq!(line.parse::<Undo>().ok(), Some(undo));
    }

    /// What is read from a damaged record is a record, and the very same when it is written and read again.
    #[test]
    fn any_text_is_a_record_or_an_error(
        text in any::<String>(), damaged in "(remove-root|remove-ingress|remove-ifb|resume) ?[-+0-9a-fx \\n]{0,24}",
    ) {
        for text in [text, damaged] {
            match text.parse::<Undo>() {
                Ok(undo) => prop_assert_eq!(undo.to_string().parse::<Undo>().ok(), Some(undo)),
                Err(error) => prop_assert!(error.to_string().contains("cannot read undo record")),
            }
        }
    }
}
