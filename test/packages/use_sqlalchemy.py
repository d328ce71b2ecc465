"""Mapped classes with annotations that are text, a relation, and a query."""
from __future__ import annotations

from sqlalchemy import ForeignKey, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    books: Mapped[list[Book]] = relationship(back_populates="author")


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


def work():
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Author(name="Ada", books=[Book(title="Notes"), Book(title=None)]))
        session.add(Author(name="Grace"))
        session.commit()
        query = (
            select(Author.name, func.count(Book.id))
            .join(Book, isouter=True)
            .group_by(Author.name)
            .order_by(Author.name)
        )
        counts = [list(row) for row in session.execute(query)]
        title = session.scalars(select(Book).where(Book.title.is_not(None))).one()
        result = [counts, title.author.name]
    engine.dispose()
    return result
