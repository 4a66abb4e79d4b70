"""The parts of bench/measure."""
