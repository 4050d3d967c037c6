use super::*;

#[test]
fn kinds_are_sorted_and_unique_and_have_a_type() {
    assert!(KINDS.windows(2).all(|pair| pair[0].name < pair[1].name));
    for kind in KINDS {
        let names: Vec<_> = kind.fields.fields.iter().map(|field| field.name).collect();
        assert!(
            names.contains(&"apiVersion") && names.contains(&"kind"),
            "{}",
            kind.name
        );
        assert_eq!(kind.named, names.contains(&"name"), "{}", kind.name);
    }
}
