for (const swipe of document.querySelectorAll('.swipe')) {
  const stack = swipe.querySelector('.stack'), range = swipe.querySelector('input');
  const shots = [...stack.children], choices = [...swipe.querySelectorAll('select')];
  const move = () => stack.style.setProperty('--at', range.value + '%');
  const drag = event => {
    const box = stack.getBoundingClientRect();
    range.value = 100 * (event.clientX - box.left) / box.width;
    move();
  };
  const choose = () => shots.forEach((shot, number) => {
    shot.classList.toggle('left', number == choices[0].value);
    shot.classList.toggle('right', number == choices[1].value);
  });
  range.addEventListener('input', move);
  stack.addEventListener('pointerdown', event => { stack.setPointerCapture(event.pointerId); drag(event); });
  stack.addEventListener('pointermove', event => { if (stack.hasPointerCapture(event.pointerId)) drag(event); });
  choices.forEach(choice => choice.addEventListener('change', choose));
  move();
  if (choices.length) choose();
}
