"""Common English words: what the tokenizer knows beyond the microworld, and what it is drilled on.

They serve as tokenizer material, as words of preambles and now and then as arbitrary labels and
look-up keys, so that text from outside the microworld is not wholly foreign to the model.
"""

_TEXT = (
    "about above across act add after again against age ago agree air all allow almost alone "
    "along already also always among amount an any appear are area around as ask away back "
    "bad based be because become been before began begin behind being believe below best "
    "better between black both bring build but buy by can care carry case cause center "
    "certain change check children choose city clear close cold color come common company "
    "complete could country course create cut dark data day decide deep did different do does "
    "done door down draw drive each early earth easy eat end enough even ever every example "
    "explain face fact fall family far fast father feel few field fill final fire first "
    "follow following for force form free friend from front full game gave get girl give "
    "given go going good government got ground group grow half happen hard has have head hear "
    "heart heat heavy held help her here high him his history hold home hope hot hour how "
    "however human hundred idea if important interest into island its job just keep kind king "
    "knew know land language large last late later law lead learn least leave left less let "
    "letter level life light line list listen little live local long look lost lot love low "
    "main make man many map mark matter may me mean men might mind minute moment money month "
    "more morning most mother mountain move much music must my name nation need never new "
    "news next night no none north not note nothing notice now number object off often oh ok "
    "only open or order other our out over own page part party pass past pattern people "
    "perhaps person picture piece place plan plant point possible power president press "
    "problem produce product program public pull question quick rain ran reach read ready "
    "real reason record remember rest result right river road room round rule run said same "
    "say science sea second see seem self send sense serve service set several shall short "
    "should side simple since sing sit size sleep slow social some something sometimes soon "
    "sound south space speak special stand star start state stay step still stop street "
    "strong study such sun support sure system take talk team tell than that their them then "
    "these thing think this those though thought thousand three through time together told "
    "too took top toward town travel tree true try turn under understand until up upon us use "
    "usual value voice wait walk want war warm watch water way week well went west what when "
    "where whether which while who whole whose why will wish within without woman word work "
    "world would write wrong year yes yet you your movie review label text answer input "
    "output translate sentence classify false happy funny"
)
COMMON_WORDS = tuple(_TEXT.split())
