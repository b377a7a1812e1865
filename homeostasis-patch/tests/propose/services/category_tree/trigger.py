import service

catalog = service.Catalog()
catalog.add("home", "tea")
catalog.add("tea", "home")
catalog.path("tea")
