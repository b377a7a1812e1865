import service

table = service.load([("de", "letter", "100")])
table.rate("ch", 300)
