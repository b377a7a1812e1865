"""Categories of the catalog and the paths to them."""


class Category:
    def __init__(self, name, parent=None):
        self.name = name
        self.parent = parent


class Catalog:
    def __init__(self):
        self.categories = {}

    def add(self, name, parent=None):
        self.categories[name] = Category(name, parent)

    def move(self, name, parent):
        self.categories[name].parent = parent

    def path(self, name):
        """The names from the root to a category."""
        category = self.categories[name]
        if category.parent is None:
            return [category.name]
        return self.path(category.parent) + [category.name]

    def breadcrumb(self, name):
        return " > ".join(self.path(name))
