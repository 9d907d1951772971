//! Equivalences inside the renderer: what must agree, whichever way it is computed.
