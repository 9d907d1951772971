"""Writes merges.bin from the vocabulary of CLIP.

    python make.py bpe_simple_vocab_16e6.txt.gz

Merge n makes token 512 + n of two earlier tokens; the file holds the ids of the two, 16 bits each, little-endian.
Tokens 0 to 255 are bytes, printable ones of Latin-1 first; 256 to 511 are the same at the end of a word.
"""
import array
import gzip
import sys

MERGES = 48894

printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
others = [byte for byte in range(256) if byte not in printable]
letters = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(len(others))]
ids = {token: n for n, token in enumerate(letters + [letter + "</w>" for letter in letters])}
lines = gzip.open(sys.argv[1]).read().decode().split("\n")[1:MERGES + 1]
merges = array.array("H")
for n, line in enumerate(lines):
    first, second = line.split()
    merges.extend([ids[first], ids[second]])
    assert first + second not in ids
    ids[first + second] = 512 + n
if sys.byteorder == "big":
    merges.byteswap()
with open("merges.bin", "wb") as file:
    merges.tofile(file)
