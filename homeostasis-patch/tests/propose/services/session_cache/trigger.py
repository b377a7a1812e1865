import service

cache = service.SessionCache(2, 10)
cache.put("a", "ada", 0)
cache.put("b", "bo", 1)
cache.put("c", "cy", 50)
