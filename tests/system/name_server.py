"""A name server for tests: name_server.py ADDRESS FILE. It answers A questions from a JSON file, {name: [IPv4 address]}, which it reads
anew for each; other names do not exist.
"""

import json
import socket
import struct
import sys


def answer(question, zone):
    name, place = [], 12
    while length := question[place]:
        name.append(question[place + 1 : place + 1 + length].decode("latin-1"))
        place += 1 + length
    place += 1
    kind = struct.unpack(">H", question[place : place + 2])[0]
    addresses = zone.get(".".join(name).lower())
    records = [] if addresses is None or kind != 1 else addresses
    head = question[:2] + struct.pack(">HHHHH", 0x8180 | (3 if addresses is None else 0), 1, len(records), 0, 0)
    body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(address) for address in records)
    return head + question[12 : place + 4] + body


def main():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((sys.argv[1], 53))
    print("ready", flush=True)
    while True:
        question, client = server.recvfrom(512)
        with open(sys.argv[2]) as file:
            server.sendto(answer(question, json.load(file)), client)


if __name__ == "__main__":
    main()
