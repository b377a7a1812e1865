import service

service.allocate([service.Warehouse("north", {"tea": 1})], [(1, {"tea": 9})])
