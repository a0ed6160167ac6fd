//! A whole Miroir cluster on one machine, and the demo.
