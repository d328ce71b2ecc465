"""A search over parameters in two processes, and a forest in two threads."""
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier


def work():
    x, y = load_iris(return_X_y=True)
    search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [1, 5]}, cv=3, n_jobs=2)
    search.fit(x, y)
    forest = RandomForestClassifier(10, random_state=0, n_jobs=2).fit(x, y)
    return [search.best_params_["n_neighbors"] in (1, 5), forest.score(x, y) > 0.9]
