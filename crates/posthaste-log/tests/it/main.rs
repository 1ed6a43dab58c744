//! What the embedded store promises, attacked through its public face.

mod life;
mod space;
