#!/usr/bin/env python3
"""Households that are easily taken for one person. Standard library only; the same seed gives the same bytes.

  households.py --style it|us --households N --seed S --out PREFIX    -> PREFIX.csv PREFIX.truth.csv

it: spouses keep their names, children are called after grandparents who may live there, a family mailbox, a landline, one mobile.
us: flats of one building, juniors, roommates, twins with names that resemble each other.
"""
import argparse
import csv
import datetime
import random

ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
ap.add_argument("--style", choices=["it", "us"], default="it")
ap.add_argument("--households", type=int, default=1000)
ap.add_argument("--seed", type=int, default=1)
ap.add_argument("--out", required=True)
args = ap.parse_args()
R = random.Random(f"{args.style} {args.seed}")

GIVEN = {
    "it": (
        "Mario Luigi Giuseppe Antonio Giovanni Francesco Paolo Marco Andrea Luca Stefano Roberto Alessandro Matteo Davide Simone "
        "Lorenzo Pietro Carlo Enrico Salvatore Vincenzo Domenico Gennaro Ettore",
        "Maria Anna Giulia Chiara Francesca Paola Laura Sara Elena Valentina Silvia Martina Alessandra Simona Lucia Rosa Teresa "
        "Carla Enrica Carmela Concetta Daniela Marta Elisa Ilaria",
    ),
    "us": (
        "James John Robert Michael William David Richard Joseph Thomas Charles Daniel Matthew Anthony Mark Steven Andrew Kevin "
        "Brian George Edward Ronald Timothy Jason Jeffrey Ryan Jayden Aiden Brayden",
        "Mary Patricia Jennifer Linda Elizabeth Barbara Susan Jessica Sarah Karen Lisa Nancy Betty Margaret Sandra Ashley Kimberly "
        "Emily Donna Michelle Carol Amanda Melissa Madison Addison Kaylee Kylie",
    ),
}[args.style]
GIVEN = [names.split() for names in GIVEN]
ROOTS, ENDS = {
    "it": ("Ross Bianch Ferr Esposit Roman Colomb Ricc Marin Grec Brun Gall Cont Mancin Cost Giordan Rizz Lombard Morett Barbier "
           "Fontan Santor Marian Rinald Carus Ferrar Galass Martin Leon Long Gentil", "i o etti ini ato ari elli one"),
    "us": ("Ander John Wil Peter Rich Hender Robin Thomp Jack Mor Harr Rob Ed Nel Carl Steven Law Sim Watt Hutch Bram Fergu Gib "
           "Hud Mat Nichol Patter Samp Daw Tol", "son sen man ley ford ton er well"),
}[args.style]
SURNAMES = [root + end for root in ROOTS.split() for end in ENDS.split()]
STREETS = {
    "it": [f"{kind} {name}" for kind in ("Via", "Viale", "Corso", "Piazza") for name in
           "Garibaldi Mazzini Cavour Verdi Marconi Dante Manzoni Volta Carducci Pascoli Leopardi Petrarca Galilei Gramsci Matteotti "
           "Trieste Trento Milano Torino Piave Isonzo Adua Bixio Crispi".split()],
    "us": [f"{name} {kind}" for kind in ("Street", "Avenue", "Road", "Drive", "Lane") for name in
           "Maple Oak Pine Cedar Elm Washington Lake Hill Walnut Spring North Ridge Church Willow Mill Sunset Railroad Park".split()],
}[args.style]
TOWNS = [(f"{10000 + 137 * n % 89999:05}", name) for n, name in enumerate(
    {"it": "Faenza Imola Lugo Forli Cesena Rimini Ravenna Ferrara Modena Parma Lodi Pavia Novara Asti Cuneo Savona Lucca Pisa Siena Arezzo",
     "us": "Salem Clinton Madison Georgetown Franklin Arlington Ashland Burlington Dover Milton Oxford Auburn Dayton Bristol Clayton"}[args.style].split())]
KEYS = "qwertyuiopasdfghjklzxcvbnm"


def slip(text):
    if len(text) < 3:
        return text
    at, kind = R.randrange(1, len(text)), R.random()
    if kind < 0.3:
        return text[:at] + text[at + 1 :]
    if kind < 0.6 and at + 1 < len(text):
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + (R.choice("0123456789") if text[at].isdigit() else R.choice(KEYS)) + text[at + 1 :]


def born(oldest, youngest):
    return datetime.date(2026, 1, 1) - datetime.timedelta(days=R.randrange(youngest * 365, oldest * 365))


def number():
    return ("+393" if args.style == "it" else "+1415") + "".join(R.choice("23456789") for _ in range(9 if args.style == "it" else 7))


people, used = [], set()


def mailbox(given, surname):
    name = f"{given}{R.choice(['.', '', '_'])}{surname}".lower()
    while name in used:
        name += str(R.randrange(10))
    used.add(name)
    return f"{name}@{R.choice(['gmail.com', 'outlook.com', 'libero.it', 'yahoo.com'])}"


def person(home, given, surname, birth):
    people.append(dict(home=home, given=given, surname=surname, birth=birth, phone=number() if R.random() < 0.8 else "",
                       email=mailbox(given, surname) if R.random() < 0.6 else ""))
    return people[-1]


for _ in range(args.households):
    surname, (postal, town) = R.choice(SURNAMES), R.choice(TOWNS)
    home = dict(street=R.choice(STREETS), house_number=str(R.randrange(1, 90)), postal_code=postal, town=town, landline="", mailbox="")
    boys, girls = R.sample(GIVEN[0], 8), R.sample(GIVEN[1], 8)
    father = person(home, boys.pop(), surname, born(75, 45))
    mother = person(home, girls.pop(), R.choice(SURNAMES) if args.style == "it" else surname, father["birth"] + datetime.timedelta(days=R.randrange(-900, 2000)))
    if args.style == "it":
        home["landline"] = f"+39054{R.randrange(10**6):06}" if R.random() < 0.4 else ""
        home["mailbox"] = f"{R.choice(['famiglia', 'fam', 'casa'])}.{surname.lower()}{R.randrange(99)}@libero.it" if R.random() < 0.25 else ""
        if R.random() < 0.2:
            mother["phone"] = father["phone"]
        if R.random() < 0.15:
            person(home, R.choice(boys), surname, father["birth"] - datetime.timedelta(days=R.randrange(8000, 12000)))
    elif R.random() < 0.25:
        person(home, R.choice(GIVEN[0] + GIVEN[1]), R.choice(SURNAMES), born(40, 20))  # a roommate
    first = None
    for child in range(R.choices([0, 1, 2, 3], [25, 30, 30, 15])[0]):
        boy, birth = R.random() < 0.5, father["birth"] + datetime.timedelta(days=R.randrange(22 * 365, 36 * 365))
        given = (boys if boy else girls).pop()
        if child == 0 and boy and R.random() < 0.12:
            given = father["given"]
        if first and R.random() < 0.1:
            birth = first["birth"]
        elif first and R.random() < 0.3:
            birth = first["birth"] + datetime.timedelta(days=R.choice([-365, 365, 730, 400, 31, -10]))
        child = person(home, given, surname, birth)
        first = first or child

rows = []
for number_of, p in enumerate(people):
    for _ in range(1 + min(6, int(R.expovariate(0.6)))):
        home, noisy = p["home"], R.random() < 0.6
        row = dict(given_name=p["given"], surname=p["surname"], date_of_birth="", email="", phone="", street="", house_number="", postal_code="", town="")
        if R.random() < 0.6:
            row["date_of_birth"] = p["birth"].isoformat()
        if R.random() < 0.75:
            row.update({k: home[k] for k in ("street", "house_number", "postal_code", "town")})
        if R.random() < 0.5:
            row["phone"] = home["landline"] if home["landline"] and R.random() < 0.3 else p["phone"]
        if R.random() < 0.4:
            row["email"] = home["mailbox"] if home["mailbox"] and R.random() < 0.5 else p["email"]
        if noisy:
            for column, chance in (("given_name", 0.1), ("surname", 0.1), ("street", 0.12), ("date_of_birth", 0.06), ("town", 0.05)):
                if row[column] and R.random() < chance:
                    row[column] = slip(row[column])
            if R.random() < 0.04:
                row["given_name"], row["surname"] = row["surname"], row["given_name"]
            if R.random() < 0.05:
                row["given_name"] = row["given_name"][:1] + "." if R.random() < 0.5 else ""
        thin = not (row["email"] or row["phone"] or (row["given_name"] and (row["date_of_birth"] or row["street"])))
        rows.append((row, f"p{number_of}", int(thin)))
R.shuffle(rows)
columns = ["record_id", *rows[0][0]]
with open(args.out + ".csv", "w", newline="", encoding="utf-8") as records, open(args.out + ".truth.csv", "w", newline="") as truth:
    records, truth = csv.DictWriter(records, columns, lineterminator="\n"), csv.writer(truth, lineterminator="\n")
    records.writeheader()
    truth.writerow(["record_id", "entity_id", "thin"])
    for at, (row, who, thin) in enumerate(rows):
        records.writerow({"record_id": f"h{at}", **row})
        truth.writerow([f"h{at}", who, thin])
