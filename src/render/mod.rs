//! Pictures for people: overlays and legends.
